fn main() {
    println!("{}", quickstart::greeting("devshell"));
}
