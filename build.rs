//! How `devshell-vm` is linked.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let of_target = |what: &str| std::env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    let is_static = of_target("FEATURE").split(',').any(|feature| feature == "crt-static");
    if of_target("OS") == "linux" && of_target("ENV") == "gnu" && !is_static {
        // A guest without KVM is emulated, and QEMU translates code once for each address that it runs at: with a
        // fixed one, what an earlier run of the agent had translated serves the next. To begin a session and run
        // `true` in it took about seven tenths of the time then.
        println!("cargo::rustc-link-arg-bin=devshell-vm=-no-pie");
    }
}
