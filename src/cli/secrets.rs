//! The values of secrets, read once before anything else is done.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::anyhow;

use crate::exit::End;
use crate::mask::SHORTEST;
use crate::plan::{Plan, SecretPlan, SecretSource};
use crate::runner::Secrets;

use super::end::CliError;

/// The system passes no variable of 128 KiB, and what hides a value needs many times its size.
const LONGEST: usize = 32 * 1024;
/// Where container engines put secrets, for all users of the container to read.
const OF_CONTAINERS: [&str; 2] = ["/run/secrets", "/var/run/secrets"];

/// Reads what the tools of this run get. All that cannot be had is told at once.
pub(super) fn read(plan: &mut Plan) -> Result<Secrets, CliError> {
    let mut given = Vec::new();
    let mut hidden = Vec::new();
    let mut faults = Vec::new();
    for secret in &plan.secrets {
        let due = plan.tools.iter().filter(|tool| tool.left_out.is_none());
        if due.clone().any(|tool| tool.secrets.contains(&secret.name)) {
            match value(&secret.source) {
                Ok(value) => given.push((secret.name.clone(), value)),
                Err(why) => faults.push(format!("the secret `{}` ({}): {why}", secret.name, secret.origin)),
            }
            plan.warnings.extend(exposed(secret));
        } else if let SecretSource::Env(name) = &secret.source {
            // `pass_env` may name it all the same, and then it is in some tool's reach.
            hidden.extend(std::env::var_os(name));
        }
    }
    if !faults.is_empty() {
        let text = format!(
            "{}; nothing was run. Which tools need a secret is said by its `tools`, and `--only` leaves them out",
            faults.join("; ")
        );
        return Err(CliError::new(End::ConfigInvalid, anyhow!(text)));
    }
    Ok(Secrets::new(given, &hidden))
}

/// The value, or why there is none that can be used.
fn value(source: &SecretSource) -> Result<OsString, String> {
    let (what, value) = match source {
        SecretSource::Env(name) => {
            let value = std::env::var_os(name).ok_or(format!("the variable `{name}` is not set"))?;
            (format!("the variable `{name}`"), value.into_vec())
        }
        SecretSource::File(path) => {
            let what = format!("the file `{}`", path.display());
            let bytes = contents(path).map_err(|error| format!("{what} cannot be read: {error}"))?;
            (what, without_newline(bytes))
        }
    };
    if value.is_empty() {
        Err(format!("{what} is empty"))
    } else if value.len() > LONGEST {
        Err(format!(
            "{what} holds more than {LONGEST} bytes, too many for a variable: let the tools read a file"
        ))
    } else if value.contains(&0) {
        Err(format!("{what} holds a NUL byte, which no variable can"))
    } else if value.trim_ascii().len() < SHORTEST {
        Err(format!(
            "{what} holds fewer than {SHORTEST} bytes: they stand all over any output and cannot be hidden in it"
        ))
    } else {
        Ok(OsString::from_vec(value))
    }
}

fn contents(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // Enough to see that it is too long; `/dev/zero` has no end.
    File::open(path)?.take(LONGEST as u64 + 3).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Editors and `echo` end a file with a newline that is no part of the value.
fn without_newline(mut bytes: Vec<u8>) -> Vec<u8> {
    for end in [b'\n', b'\r'] {
        if bytes.last() != Some(&end) {
            break;
        }
        bytes.pop();
    }
    bytes
}

/// Says of a file that every user of this machine can read it.
fn exposed(secret: &SecretPlan) -> Option<String> {
    let SecretSource::File(path) = &secret.source else {
        return None;
    };
    let real = path.canonicalize().ok()?;
    if OF_CONTAINERS
        .iter()
        .any(|folder| path.starts_with(folder) || real.starts_with(folder))
    {
        return None;
    }
    let mode = |path: &Path, bit: u32| path.metadata().is_ok_and(|meta| meta.permissions().mode() & bit != 0);
    let is_file = real.metadata().is_ok_and(|meta| meta.is_file());
    let open = is_file && mode(&real, 0o004) && real.ancestors().skip(1).all(|folder| mode(folder, 0o001));
    open.then(|| {
        format!(
            "the file of the secret `{}` can be read by every user: `chmod 600 {}` keeps it yours",
            secret.name,
            path.display()
        )
    })
}
