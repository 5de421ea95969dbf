//! Files of the guest: version 1's operations, and what `fs_stat` and `fs_raw` add.

use serde::{Deserialize, Serialize};

use super::base64::{from_base64, to_base64};
use super::code::FsErrorCode;

/// A request about the guest's files. Which fields belong to it depends on the operation.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GuestFs {
    /// The session.
    pub session_id: String,
    /// One of [`FsOperation`]; kept as it came, so that another one is answered as unknown.
    pub operation: String,
    /// Absolute, under the mount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest_path: Option<String>,
    /// In its place, where the path is no UTF-8 (`fs_raw`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest_path_base64: Option<String>,
    /// `write_file`: the whole content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_base64: Option<String>,
    /// `read_file`, `write_file`: the content goes in `fs_data` lines (`fs_raw`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<bool>,
    /// `read_file` with `raw`: where to begin; 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// `read_file` with `raw`: how much at most; all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// `write_file`, `mkdir`, `set_stat`: permission bits (`fs_raw`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    /// `write_file`, `symlink`, `set_stat`: time of the last change, seconds since 1970 (`fs_raw`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtime_s: Option<i64>,
    /// Its nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtime_ns: Option<u32>,
    /// `list_dir`: with metadata (`fs_stat`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stat: Option<bool>,
    /// `list_dir`: only names behind this one in the order of their bytes (`fs_stat`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// In its place, where the name is no UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_base64: Option<String>,
    /// `symlink`: what the link holds (`fs_raw`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// In its place, where that is no UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_base64: Option<String>,
}

/// What can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FsOperation {
    /// The names in a folder.
    ListDir,
    /// A file's content.
    ReadFile,
    /// A whole file, which is there complete or not at all.
    WriteFile,
    /// A folder with its parents.
    Mkdir,
    /// An entry with everything below it; a link itself.
    Remove,
    /// Metadata of an entry; of a link itself (`fs_stat`).
    Stat,
    /// A symbolic link, which replaces a file or link (`fs_raw`).
    Symlink,
    /// Mode and time of a file or folder (`fs_raw`).
    SetStat,
}

impl FsOperation {
    /// All.
    pub const ALL: [Self; 8] = [
        Self::ListDir,
        Self::ReadFile,
        Self::WriteFile,
        Self::Mkdir,
        Self::Remove,
        Self::Stat,
        Self::Symlink,
        Self::SetStat,
    ];

    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ListDir => "list_dir",
            Self::ReadFile => "read_file",
            Self::WriteFile => "write_file",
            Self::Mkdir => "mkdir",
            Self::Remove => "remove",
            Self::Stat => "stat",
            Self::Symlink => "symlink",
            Self::SetStat => "set_stat",
        }
    }

    /// The operation of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.name() == name)
    }
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FsKind {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A FIFO, a socket or a device.
    Special,
}

/// Metadata of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FsStat {
    /// What it is.
    pub kind: FsKind,
    /// In bytes.
    pub size: u64,
    /// Permission bits, setuid, setgid and sticky included.
    pub mode: u32,
    /// Time of the last change of the content, seconds since 1970.
    pub mtime_s: i64,
    /// Its nanoseconds.
    pub mtime_ns: u32,
    /// What a link holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// In its place, where that is no UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_base64: Option<String>,
}

/// An entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FsEntry {
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// In its place, where the name is no UTF-8 (`fs_raw`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_base64: Option<String>,
    /// Its metadata.
    pub stat: FsStat,
}

/// It was done.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GuestFsOk {
    /// The session.
    #[serde(default)]
    pub session_id: String,
    /// `list_dir`: names that are UTF-8, sorted by their bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
    /// `list_dir`: the other names (`fs_raw`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names_base64: Option<Vec<String>>,
    /// `list_dir` with `stat`: all entries, sorted by the bytes of their names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<Vec<FsEntry>>,
    /// `list_dir` (`fs_stat`): there are further names behind the last of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more: Option<bool>,
    /// `read_file`: the whole content, where it was not asked for as `raw`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_base64: Option<String>,
    /// `stat`, and `read_file` with `raw`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stat: Option<FsStat>,
}

/// It was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestFsFailed {
    /// The session.
    #[serde(default)]
    pub session_id: String,
    /// Why.
    pub code: FsErrorCode,
    /// In words.
    #[serde(default)]
    pub message: String,
}

/// Text where the bytes are UTF-8, else base64: the two fields of a name, path or link on the wire.
pub(super) fn text_or_base64(bytes: &[u8]) -> (Option<String>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(to_base64(bytes))),
    }
}

/// The bytes of two such fields; none when there is not exactly one, or it is no base64.
pub(super) fn bytes_of(text: Option<&str>, base64: Option<&str>) -> Option<Vec<u8>> {
    match (text, base64) {
        (Some(text), None) => Some(text.as_bytes().to_vec()),
        (None, Some(base64)) => from_base64(base64),
        _ => None,
    }
}

impl FsStat {
    /// Puts in what a link holds.
    #[must_use]
    pub fn with_target(mut self, target: &[u8]) -> Self {
        (self.target, self.target_base64) = text_or_base64(target);
        self
    }

    /// What a link holds, if the peer has said so.
    #[must_use]
    pub fn target_bytes(&self) -> Option<Vec<u8>> {
        bytes_of(self.target.as_deref(), self.target_base64.as_deref())
    }
}

impl FsEntry {
    /// An entry.
    #[must_use]
    pub fn new(name: &[u8], stat: FsStat) -> Self {
        let (name, name_base64) = text_or_base64(name);
        Self {
            name,
            name_base64,
            stat,
        }
    }

    /// The bytes of its name, if the peer has given a usable one.
    #[must_use]
    pub fn name_bytes(&self) -> Option<Vec<u8>> {
        bytes_of(self.name.as_deref(), self.name_base64.as_deref())
    }
}

impl GuestFs {
    /// A request with a path and nothing else.
    #[must_use]
    pub fn new(session_id: &str, operation: FsOperation, guest_path: &[u8]) -> Self {
        let (guest_path, guest_path_base64) = text_or_base64(guest_path);
        Self {
            session_id: session_id.to_owned(),
            operation: operation.name().to_owned(),
            guest_path,
            guest_path_base64,
            ..Self::default()
        }
    }

    /// Only names behind this one.
    #[must_use]
    pub fn after(mut self, name: &[u8]) -> Self {
        (self.after, self.after_base64) = text_or_base64(name);
        self
    }

    /// What the link is to hold.
    #[must_use]
    pub fn target(mut self, target: &[u8]) -> Self {
        (self.target, self.target_base64) = text_or_base64(target);
        self
    }

    /// The bytes of the path; none when there is not exactly one usable.
    #[must_use]
    pub fn path_bytes(&self) -> Option<Vec<u8>> {
        bytes_of(self.guest_path.as_deref(), self.guest_path_base64.as_deref())
    }

    /// The bytes of the name to go on behind.
    #[must_use]
    pub fn after_bytes(&self) -> Option<Vec<u8>> {
        bytes_of(self.after.as_deref(), self.after_base64.as_deref())
    }

    /// The bytes that a link is to hold.
    #[must_use]
    pub fn target_bytes(&self) -> Option<Vec<u8>> {
        bytes_of(self.target.as_deref(), self.target_base64.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_travel_as_text_where_they_can_and_always_come_back() {
        for (name, text) in [(&b"caf\xc3\xa9"[..], true), (b"caf\xe9", false), (b"", true)] {
            let request = GuestFs::new("s", FsOperation::ListDir, name).after(name).target(name);
            assert_eq!(request.guest_path.is_some(), text);
            assert_eq!(request.path_bytes().unwrap(), name);
            assert_eq!(request.after_bytes().unwrap(), name);
            assert_eq!(request.target_bytes().unwrap(), name);
        }
    }

    #[test]
    fn a_name_in_both_forms_is_none() {
        assert_eq!(bytes_of(Some("a"), Some("YQ==")), None);
        assert_eq!(bytes_of(None, Some("!")), None);
        assert_eq!(bytes_of(None, None), None);
    }

    #[test]
    fn operations_come_back_from_their_names() {
        for operation in FsOperation::ALL {
            assert_eq!(FsOperation::from_name(operation.name()), Some(operation));
        }
    }
}
