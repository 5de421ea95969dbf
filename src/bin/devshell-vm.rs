//! The `devshell-vm` program, the sidecar.

fn main() -> std::process::ExitCode {
    devshell::cli::sidecar_main()
}
