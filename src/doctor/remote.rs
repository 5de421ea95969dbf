//! The remote-execution backend.

use crate::quote::command_line;
use crate::session::is_in_this_version;

use super::Case;
use super::facts::text;
use super::report::Check;

pub(super) fn checks(case: &Case) -> Vec<Check> {
    let remote = &case.config.vm.remote;
    let mut checks = vec![version("remote")];
    checks.push(match &remote.endpoint {
        Some(endpoint) => Check::ok("endpoint", endpoint),
        None => Check::problem("endpoint", "vm.remote.endpoint is not set")
            .mended_by("export DEVSHELL__VM__REMOTE__ENDPOINT=grpc://HOST:PORT"),
    });
    if let Some(file) = &remote.header_file {
        checks.push(match std::fs::File::open(file) {
            Ok(_) => Check::ok("header_file", format!("`{}` can be read", file.display())),
            Err(error) => Check::problem("header_file", format!("`{}` cannot be read: {error}", file.display()))
                .mended_by(command_line(["ls", "-l", &text(file)])),
        });
    }
    checks
}

/// Whether this devshell knows a backend at all.
pub(super) fn version(backend: &str) -> Check {
    if is_in_this_version(backend) {
        Check::ok("version", "this version of devshell has it")
    } else {
        Check::problem("version", "not built into this version of devshell").mended_by("devshell run --backend host")
    }
}
