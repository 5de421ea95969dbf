//! Where a program may be found, as execvp(3) looks.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

/// What execvp(3) searches when there is no `PATH`.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// The `PATH` of an environment; of several the first counts, as for getenv(3).
pub(super) fn search_path(env: &[(OsString, OsString)]) -> &OsStr {
    env.iter()
        .find(|(name, _)| name == "PATH")
        .map_or(OsStr::new(DEFAULT_PATH), |(_, value)| value)
}

/// Whether a program is looked up at all.
pub(super) fn is_searched(program: &OsStr) -> bool {
    !program.as_bytes().contains(&b'/')
}

/// The files to try, in order. Relative ones belong to the tool's working folder, which an
/// empty element of `path` stands for, too.
pub(super) fn candidates(program: &OsStr, path: &OsStr) -> Vec<OsString> {
    if program.is_empty() {
        return Vec::new();
    }
    if !is_searched(program) {
        return vec![program.to_owned()];
    }
    path.as_bytes()
        .split(|&byte| byte == b':')
        .map(|folder| {
            let mut file = if folder.is_empty() {
                b".".to_vec()
            } else {
                folder.to_vec()
            };
            file.push(b'/');
            file.extend_from_slice(program.as_bytes());
            OsString::from_vec(file)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_searched_in_order_and_empty_elements_are_the_working_folder() {
        assert_eq!(
            candidates("cc".as_ref(), "/a::b:".as_ref()),
            ["/a/cc", "./cc", "b/cc", "./cc"]
        );
        assert_eq!(candidates("./cc".as_ref(), "/a".as_ref()), ["./cc"]);
        assert_eq!(candidates("x/cc".as_ref(), "/a".as_ref()), ["x/cc"]);
        assert!(candidates("".as_ref(), "/a".as_ref()).is_empty());
    }

    #[test]
    fn the_first_path_counts_and_none_is_the_systems() {
        let env = [("A", "1"), ("PATH", "/x"), ("PATH", "/y")].map(|(n, v)| (n.into(), v.into()));
        assert_eq!(search_path(&env), "/x");
        assert_eq!(search_path(&[]), "/bin:/usr/bin");
    }
}
