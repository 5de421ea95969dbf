//! The `devshell` program.

fn main() -> std::process::ExitCode {
    devshell::cli::main()
}
