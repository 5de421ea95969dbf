//! What `limactl list --format json` says of an instance.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// An instance as limactl knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// `Running`, `Stopped`, `Broken`, ...
    pub status: String,
    /// What limactl holds against it.
    pub errors: Vec<String>,
    /// Where its logs lie.
    pub dir: PathBuf,
    /// Its machine: `x86_64`, `aarch64`, ...
    pub arch: String,
    /// What ssh needs to know to get there; empty where it does not say.
    pub ssh_config: String,
    /// The shell that limactl uses there; empty where it is the user's own.
    pub shell: String,
    /// `9p`, `reverse-sshfs`, `virtiofs`.
    pub mount_type: String,
    /// What of this host it shows.
    pub mounts: Vec<Mount>,
}

/// A folder of this host in the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Here; may begin with `~`.
    pub location: PathBuf,
    /// There.
    pub point: PathBuf,
    /// Whether the guest may write to it.
    pub writable: bool,
}

/// The instance of this name in what limactl has listed: one object a line.
#[must_use]
pub fn find(listed: &[u8], name: &str) -> Option<Instance> {
    String::from_utf8_lossy(listed)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|object| object["name"] == name)
        .map(|object| Instance::from(&object))
}

impl From<&Value> for Instance {
    fn from(object: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mounts = object["config"]["mounts"].as_array().into_iter().flatten();
        Self {
            status: text(&object["status"]),
            errors: object["errors"].as_array().into_iter().flatten().map(text).collect(),
            dir: text(&object["dir"]).into(),
            arch: text(&object["arch"]),
            ssh_config: text(&object["sshConfigFile"]),
            shell: text(&object["config"]["user"]["shell"]),
            mount_type: text(&object["config"]["mountType"]),
            mounts: mounts
                .filter_map(|mount| {
                    let location = PathBuf::from(mount["location"].as_str()?);
                    Some(Mount {
                        point: mount["mountPoint"]
                            .as_str()
                            .map_or_else(|| location.clone(), PathBuf::from),
                        location,
                        writable: mount["writable"].as_bool().unwrap_or(false),
                    })
                })
                .collect(),
        }
    }
}

impl Instance {
    /// Whether the host's folder appears at the guest's path: writable, or read-only, or not.
    #[must_use]
    pub fn shows(&self, folder: &Path, guest: &Path, home: &Path) -> Option<bool> {
        let seen = self.mounts.iter().filter_map(|mount| {
            let (location, point) = (expanded(&mount.location, home), expanded(&mount.point, home));
            let rest = folder.strip_prefix(location).ok()?;
            (point.join(rest) == guest).then_some(mount.writable)
        });
        seen.max()
    }

    /// What limactl holds against it, in words.
    #[must_use]
    pub fn errors_in_words(&self) -> String {
        if self.errors.is_empty() {
            "its host agent is gone".to_owned()
        } else {
            self.errors.join("; ")
        }
    }
}

fn expanded(path: &Path, home: &Path) -> PathBuf {
    path.strip_prefix("~")
        .map_or_else(|_| path.to_owned(), |rest| home.join(rest))
}

/// What `--set` has to be told for a mount.
#[must_use]
pub fn mount_expression(folder: &Path, guest: &str) -> String {
    let mount = serde_json::json!({
        "location": folder.to_string_lossy(),
        "mountPoint": guest,
        "writable": true,
        // Where the instance mounts by reverse-sshfs: less of what it has seen is kept.
        "sshfs": {"cache": false},
    });
    format!(".mounts += [{mount}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_found_among_others_and_lines_that_are_none() {
        let listed = br#"time="x" level=warning
{"name":"other","status":"Stopped"}
{"name":"t","status":"Running","dir":"/l/t","arch":"x86_64","config":{"mountType":"9p","mounts":[{"location":"/srv","mountPoint":"/w","writable":true},{"location":"~"}]}}
"#;
        let found = find(listed, "t").unwrap();
        assert_eq!((found.status.as_str(), found.mount_type.as_str()), ("Running", "9p"));
        assert_eq!(found.arch, "x86_64");
        let shows = |folder: &str, guest: &str| found.shows(folder.as_ref(), guest.as_ref(), "/home/me".as_ref());
        assert_eq!(shows("/srv", "/w"), Some(true));
        assert_eq!(shows("/srv/a", "/w/a"), Some(true));
        assert_eq!(shows("/srv", "/workspace"), None);
        assert_eq!(shows("/home/me/x", "/home/me/x"), Some(false));
        assert_eq!(find(listed, "none"), None);
    }
}
