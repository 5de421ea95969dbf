//! A guest's files in memory, for tests of what uses them.

use std::collections::BTreeMap;

use super::{GuestFsError, GuestFsOps, below_mount};

/// A guest file system in memory that holds an empty mount at first.
#[derive(Debug, Clone)]
pub struct MockGuestFsOps {
    mount: String,
    /// By plain path; `None` is a folder.
    entries: BTreeMap<String, Option<Vec<u8>>>,
}

impl MockGuestFsOps {
    /// A guest with an empty folder at `mount`.
    ///
    /// # Errors
    /// [`GuestFsError::InvalidPath`] for a mount that is no absolute path.
    pub fn new(mount: &str) -> Result<Self, GuestFsError> {
        let mount = below_mount("/", mount)?;
        Ok(Self {
            entries: BTreeMap::from([(mount.clone(), None)]),
            mount,
        })
    }

    fn plain(&self, path: &str) -> Result<String, GuestFsError> {
        below_mount(if self.mount.is_empty() { "/" } else { &self.mount }, path)
    }

    /// The folders on the way to `path`, from the mount down, without `path` itself.
    fn ancestors<'p>(&self, path: &'p str) -> impl Iterator<Item = &'p str> {
        let from = self.mount.len();
        path.match_indices('/')
            .map(|(end, _)| end)
            .filter(move |end| *end >= from)
            .map(|end| &path[..end])
    }

    /// Fails unless every folder on the way is one.
    fn check_way(&self, path: &str) -> Result<(), GuestFsError> {
        for at in self.ancestors(path) {
            match self.entries.get(at) {
                Some(None) => {}
                Some(Some(_)) => return Err(GuestFsError::NotADirectory(at.to_owned())),
                None => return Err(GuestFsError::NotFound(at.to_owned())),
            }
        }
        Ok(())
    }

    fn get(&self, path: &str) -> Result<&Option<Vec<u8>>, GuestFsError> {
        self.check_way(path)?;
        self.entries
            .get(path)
            .ok_or_else(|| GuestFsError::NotFound(path.to_owned()))
    }
}

impl GuestFsOps for MockGuestFsOps {
    fn list_dir(&mut self, path: &str) -> Result<Vec<String>, GuestFsError> {
        let path = self.plain(path)?;
        if self.get(&path)?.is_some() {
            return Err(GuestFsError::NotADirectory(path));
        }
        let prefix = format!("{path}/");
        Ok(self
            .entries
            .range(prefix.clone()..)
            .map_while(|(key, _)| key.strip_prefix(&prefix))
            .filter(|name| !name.contains('/'))
            .map(str::to_owned)
            .collect())
    }

    fn read_file(&mut self, path: &str) -> Result<Vec<u8>, GuestFsError> {
        let path = self.plain(path)?;
        match self.get(&path)? {
            Some(content) => Ok(content.clone()),
            None => Err(GuestFsError::IsADirectory(path)),
        }
    }

    fn write_file(&mut self, path: &str, content: &[u8]) -> Result<(), GuestFsError> {
        let path = self.plain(path)?;
        self.check_way(&path)?;
        if matches!(self.entries.get(&path), Some(None)) {
            return Err(GuestFsError::IsADirectory(path));
        }
        self.entries.insert(path, Some(content.to_vec()));
        Ok(())
    }

    fn mkdir(&mut self, path: &str) -> Result<(), GuestFsError> {
        let path = self.plain(path)?;
        let way: Vec<&str> = self.ancestors(&path).chain([path.as_str()]).collect();
        if let Some(file) = way.iter().find(|at| matches!(self.entries.get(**at), Some(Some(_)))) {
            return Err(GuestFsError::NotADirectory((*file).to_owned()));
        }
        for at in way {
            self.entries.entry(at.to_owned()).or_insert(None);
        }
        Ok(())
    }

    fn remove(&mut self, path: &str) -> Result<(), GuestFsError> {
        let path = self.plain(path)?;
        if path == self.mount {
            return Err(GuestFsError::InvalidPath {
                path,
                why: "it is the session's mount itself",
            });
        }
        self.get(&path)?;
        let below = format!("{path}/");
        self.entries.retain(|key, _| *key != path && !key.starts_with(&below));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest() -> MockGuestFsOps {
        let mut guest = MockGuestFsOps::new("/workspace/").unwrap();
        guest.mkdir("/workspace/w/src").unwrap();
        guest.write_file("/workspace/w/src/a", b"a").unwrap();
        guest
    }

    #[test]
    fn files_are_written_read_listed_and_removed() {
        let mut guest = guest();
        guest.write_file("/workspace/w/src-b", b"b").unwrap();
        assert_eq!(guest.list_dir("/workspace/w").unwrap(), ["src", "src-b"]);
        assert_eq!(guest.read_file("/workspace/w/./src//a").unwrap(), b"a");
        guest.remove("/workspace/w/src").unwrap();
        assert_eq!(guest.list_dir("/workspace/w").unwrap(), ["src-b"]);
        assert!(matches!(
            guest.read_file("/workspace/w/src/a"),
            Err(GuestFsError::NotFound(_))
        ));
    }

    #[test]
    fn writing_where_a_folder_stands_keeps_its_content() {
        let mut guest = guest();
        assert!(matches!(
            guest.write_file("/workspace/w/src", b"x"),
            Err(GuestFsError::IsADirectory(_))
        ));
        assert_eq!(guest.read_file("/workspace/w/src/a").unwrap(), b"a");
        assert!(matches!(
            guest.read_file("/workspace/w/src"),
            Err(GuestFsError::IsADirectory(_))
        ));
    }

    #[test]
    fn a_file_on_the_way_is_named() {
        let mut guest = guest();
        for result in [
            guest.mkdir("/workspace/w/src/a/b"),
            guest.mkdir("/workspace/w/src/a"),
            guest.write_file("/workspace/w/src/a/b", b""),
            guest.list_dir("/workspace/w/src/a").map(drop),
        ] {
            assert!(matches!(result, Err(GuestFsError::NotADirectory(path)) if path == "/workspace/w/src/a"));
        }
        assert!(matches!(
            guest.write_file("/workspace/none/x", b""),
            Err(GuestFsError::NotFound(_))
        ));
    }

    #[test]
    fn nothing_outside_the_mount_nor_the_mount_itself_can_be_touched() {
        let mut guest = guest();
        for path in ["/etc/passwd", "/workspace/../etc", "workspace/w", "/workspace"] {
            assert!(
                matches!(guest.remove(path), Err(GuestFsError::InvalidPath { .. })),
                "{path}"
            );
        }
        assert_eq!(guest.list_dir("/workspace").unwrap(), ["w"]);
    }
}
