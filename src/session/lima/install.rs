//! What is put into a guest that lacks it: the agent, and where it is asked for, a C compiler.

use std::fs::File;
use std::io;
use std::time::Duration;

use crate::process::Cancel;
use crate::session::{Context, VmError};

use super::agent::AgentProgram;
use super::guest::Guest;
use super::settings::LimaSettings;

/// How long the agent may take on its way.
const TRANSFER: Duration = Duration::from_secs(600);
/// How long the installation of a compiler may take.
const INSTALL: Duration = Duration::from_secs(1800);

/// Puts the agent where the resident shell looks for it, whole or not at all, once it was seen to
/// be something that can be run there.
pub(super) fn put_agent(program: &AgentProgram, arch: &str, guest: &Guest, cancel: &Cancel) -> Result<(), VmError> {
    if program.arch != arch {
        return Err(VmError::Lima(format!(
            "`{}` is for {}, and the guest is {arch}",
            program.path.display(),
            program.arch
        )));
    }
    let mut file = File::open(&program.path)
        .map_err(|error| VmError::Lima(format!("`{}` cannot be read: {error}", program.path.display())))?;
    let (digest, size) = (&program.digest, program.size);
    // Whatever happens, exactly its bytes are taken off the line. Others that were put there long ago go.
    let take = format!("dd bs=65536 iflag=fullblock,count_bytes count={size} 2>/dev/null");
    let script = format!(
        "d=${{XDG_CACHE_HOME:-$HOME/.cache}}/devshell; mkdir -p \"$d\" && t=$(mktemp \"$d/new.XXXXXX\") || \
         {{ {take} >/dev/null; exit 1; }}; {take} | {{ cat >\"$t\" || {{ cat >/dev/null; false; }}; }} && \
         [ \"$(wc -c <\"$t\")\" -eq {size} ] && chmod 755 \"$t\" && \"$t\" --version >/dev/null </dev/null && sync \"$t\" && \
         mv -f \"$t\" \"$d/devshell-vm-{digest}\" && find \"$d\" -maxdepth 1 \\( -name 'devshell-vm-*' -o -name 'new.*' \\) \
         ! -name 'devshell-vm-{digest}' -mtime +7 -exec rm -f {{}} + || {{ rm -f \"$t\"; exit 1; }}"
    );
    // Should the file have grown meanwhile, no more of it is sent.
    let mut content = io::Read::take(&mut file, size);
    let answer = guest.run(
        &format!("( {script} )"),
        Some(&mut content),
        &mut io::sink(),
        TRANSFER,
        cancel,
    )?;
    if answer.code == Some(0) {
        return Ok(());
    }
    let why = answer.stderr.lines().last().unwrap_or("no reason given").to_owned();
    Err(VmError::Lima(format!("it cannot be run there: {why}")))
}

/// Installs a C toolchain where there is none and the config asks for it.
pub(super) fn build_essential(settings: &LimaSettings, guest: &Guest, cx: &mut Context) -> Result<(), VmError> {
    if !settings.lima.auto_build_essential {
        return Ok(());
    }
    if guest.ask("command -v cc >/dev/null", cx.cancel)?.0.code == Some(0) {
        return Ok(());
    }
    let instance = &guest.limactl.instance;
    cx.emitter.warn(format!(
        "the Lima instance `{instance}` has no C compiler: build-essential is installed in it"
    ));
    let script = "{ if command -v apt-get >/dev/null; then export DEBIAN_FRONTEND=noninteractive; sudo -n -E apt-get \
                  update -q && sudo -n -E apt-get install -y -q build-essential; elif command -v dnf >/dev/null; \
                  then sudo -n dnf install -y gcc gcc-c++ make; elif command -v apk >/dev/null; then sudo -n apk \
                  add build-base; else echo 'no package manager that is known' >&2; false; fi; } </dev/null >/dev/null";
    let answer = guest.run(script, None, &mut io::sink(), INSTALL, cx.cancel)?;
    if answer.code == Some(0) {
        return Ok(());
    }
    Err(VmError::Lima(format!(
        "a C compiler cannot be installed in the Lima instance `{instance}` (vm.lima.auto_build_essential): {}. \
         `{} shell {instance}` to install one by hand, or turn the key off",
        answer.stderr.lines().last().unwrap_or_default(),
        guest.limactl.program.display()
    )))
}
