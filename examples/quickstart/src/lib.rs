//! A small project for devshell to build, test and run.

/// The greeting for somebody.
pub fn greeting(name: &str) -> String {
    format!("Hello, {name}!")
}

#[cfg(test)]
mod tests {
    #[test]
    fn greets_by_name() {
        assert_eq!(super::greeting("devshell"), "Hello, devshell!");
    }
}
