//! Access lists of folders, carried as they are.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{XattrFlags, fgetxattr, fsetxattr};
use rustix::io::Errno;

const NAMES: [&str; 2] = ["system.posix_acl_access", "system.posix_acl_default"];
/// An entry has 8 bytes: more than any list that people write.
const LIMIT: usize = 64 * 1024;

/// The access lists of a folder, its own and the one for what is made in it; mostly none.
pub(crate) struct Acl([Option<Vec<u8>>; 2]);

impl Acl {
    pub(crate) fn of(folder: impl AsFd) -> io::Result<Self> {
        let mut lists = [None, None];
        for (list, name) in lists.iter_mut().zip(NAMES) {
            let mut buffer = vec![0; 4096];
            let length = match fgetxattr(&folder, name, &mut buffer) {
                Err(Errno::RANGE) => {
                    buffer.resize(LIMIT, 0);
                    fgetxattr(&folder, name, &mut buffer)
                }
                other => other,
            };
            match length {
                Ok(length) => {
                    buffer.truncate(length);
                    *list = Some(buffer);
                }
                Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Self(lists))
    }

    pub(crate) fn give_to(&self, folder: impl AsFd) -> io::Result<()> {
        for (list, name) in self.0.iter().zip(NAMES) {
            if let Some(list) = list {
                fsetxattr(&folder, name, list, XattrFlags::empty())?;
            }
        }
        Ok(())
    }
}
