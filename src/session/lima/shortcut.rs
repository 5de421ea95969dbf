//! What an earlier run has found in an instance, so that the next one need not look for it again.

use std::path::{Path, PathBuf};

/// Where an agent lies in a guest. Only a guess: what it leads to is proved anew by each run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shortcut {
    /// The program, as a path of the guest.
    pub(super) program: String,
    /// How the instance's mounts are made.
    pub(super) mount_type: String,
    /// Whether `vm.workspace_parent` is seen there.
    pub(super) shows: bool,
    /// limactl's own words for ssh, by which the way is half as long as through limactl.
    pub(super) ssh_config: String,
    /// The shell there that makes the environment; empty where it is the user's own.
    pub(super) shell: String,
}

/// What a note says where the folder is seen.
const SHOWN: &str = "shown";

fn file(leases: &Path, instance: &str, digest: &str) -> PathBuf {
    leases.join(instance).join(format!("agent-{digest}"))
}

impl Shortcut {
    /// The one to the agent of this digest, where one was noted.
    pub(super) fn read(leases: &Path, instance: &str, digest: &str) -> Option<Self> {
        let text = std::fs::read_to_string(file(leases, instance, digest)).ok()?;
        let mut lines = text.splitn(5, '\n').map(str::to_owned);
        let (mount_type, shows, ssh_config) = (lines.next()?, lines.next()? == SHOWN, lines.next()?);
        let (shell, program) = (lines.next()?, lines.next()?);
        // A word such as `A=b` would be taken for a variable.
        program.starts_with('/').then_some(Self {
            program,
            mount_type,
            shows,
            ssh_config,
            shell,
        })
    }

    /// Notes it; those to other agents go.
    pub(super) fn note(&self, leases: &Path, instance: &str, digest: &str) {
        let wanted = file(leases, instance, digest);
        let folder = leases.join(instance);
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with("agent-") && entry.path() != wanted {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        let shows = if self.shows { SHOWN } else { "" };
        let of = [&self.ssh_config, &self.shell, &self.program].map(String::as_str);
        let lines = [&[self.mount_type.as_str(), shows], &of[..]].concat();
        // Without it the next run takes the long way.
        let _ = std::fs::write(&wanted, lines.join("\n"));
    }

    /// It has led nowhere.
    pub(super) fn forget(leases: &Path, instance: &str, digest: &str) {
        let _ = std::fs::remove_file(file(leases, instance, digest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_agent_is_found_again_and_no_other() {
        let place = tempfile::tempdir().unwrap();
        let leases = place.path();
        std::fs::create_dir(leases.join("t")).unwrap();
        let shortcut = Shortcut {
            program: "/home/u/a b".to_owned(),
            mount_type: "9p".to_owned(),
            shows: true,
            ssh_config: "/l/t/ssh.config".to_owned(),
            shell: "/bin/bash".to_owned(),
        };
        assert_eq!(Shortcut::read(leases, "t", "1"), None);
        shortcut.note(leases, "t", "1");
        assert_eq!(Shortcut::read(leases, "t", "1").as_ref(), Some(&shortcut));
        shortcut.note(leases, "t", "2");
        assert_eq!(Shortcut::read(leases, "t", "1"), None);
        Shortcut::forget(leases, "t", "2");
        assert_eq!(Shortcut::read(leases, "t", "2"), None);
        std::fs::write(leases.join("t/agent-3"), "9p\n\n\n\nX=/bin/true").unwrap();
        assert_eq!(Shortcut::read(leases, "t", "3"), None);
    }
}
