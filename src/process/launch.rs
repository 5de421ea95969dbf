//! Why a tool was not started, in words.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::sys::keeper::{LaunchFailure, LaunchStage};

use super::ToolExit;

/// What was asked for.
pub(super) struct Asked<'a> {
    pub(super) program: &'a OsStr,
    /// What was searched, where the program is a mere name.
    pub(super) path: Option<&'a OsStr>,
    /// The file that the failure speaks of.
    pub(super) file: Option<&'a Path>,
    pub(super) cwd: &'a Path,
    /// Bytes of arguments and environment.
    pub(super) bytes: usize,
}

const KIND: u32 = libc::S_IFMT;
const FOLDER: u32 = libc::S_IFDIR;
const REGULAR: u32 = libc::S_IFREG;

/// The end that a failure to start is.
pub(super) fn explain(failure: &LaunchFailure, asked: &Asked) -> ToolExit {
    match failure.stage {
        LaunchStage::Prepare if failure.errno == libc::EAGAIN => {
            ToolExit::Lost(format!("the tool could not be started: {}", super::threads::NO_MORE))
        }
        LaunchStage::Prepare => ToolExit::Lost(format!("the tool could not be started: {}", text(failure.errno))),
        LaunchStage::Chdir => ToolExit::NotExecutable(explain_folder(failure.errno, asked.cwd)),
        LaunchStage::Exec => explain_exec(failure, asked),
    }
}

fn explain_folder(errno: i32, cwd: &Path) -> String {
    let why = match errno {
        libc::ENOENT => "does not exist".to_owned(),
        libc::ENOTDIR => "is not a folder".to_owned(),
        _ => format!("cannot be entered: {}", text(errno)),
    };
    format!("working folder `{}` {why}", cwd.display())
}

/// That there is no such program.
pub(super) fn not_found(asked: &Asked) -> ToolExit {
    ToolExit::NotFound(match asked.path {
        _ if asked.program.is_empty() => "the name of the program is empty".to_owned(),
        Some(path) => format!(
            "`{}` was not found in PATH ({})",
            asked.program.display(),
            path.display()
        ),
        None if Path::new(asked.program).is_relative() => {
            format!(
                "`{}` does not exist (looked for in `{}`)",
                asked.program.display(),
                asked.cwd.display()
            )
        }
        None => format!("`{}` does not exist", asked.program.display()),
    })
}

fn explain_exec(failure: &LaunchFailure, asked: &Asked) -> ToolExit {
    let exists = failure.mode != 0;
    let Some(file) = asked.file.filter(|_| exists || failure.errno != libc::ENOENT) else {
        return not_found(asked);
    };
    if !exists && (asked.path.is_some() || matches!(failure.errno, libc::ENOENT | libc::ENOTDIR)) {
        return not_found(asked);
    }
    let why = match failure.errno {
        libc::ENOENT => missing_interpreter(&failure.head),
        libc::EACCES => denied(failure),
        libc::ENOEXEC => "is in no format that this system can execute (built for another kind of machine?)".to_owned(),
        libc::E2BIG => format!(
            "cannot be given arguments and an environment of {} bytes: the system's limit (`getconf ARG_MAX`, and \
             128 KiB for each of them) is lower",
            asked.bytes
        ),
        libc::ETXTBSY => "is open for writing".to_owned(),
        errno => format!("cannot be executed: {}", text(errno)),
    };
    ToolExit::NotExecutable(format!("`{}` {why}", file.display()))
}

fn denied(failure: &LaunchFailure) -> String {
    match failure.mode & KIND {
        0 => "cannot be reached: a folder on the way may not be entered".to_owned(),
        FOLDER => "is a folder".to_owned(),
        REGULAR if failure.mode & 0o111 == 0 => "is not executable (chmod +x)".to_owned(),
        REGULAR if failure.noexec => "lies on a file system that is mounted noexec".to_owned(),
        REGULAR => match interpreter(&failure.head) {
            Some(interpreter) => {
                format!("cannot be executed: permission denied for it or its interpreter `{interpreter}`")
            }
            None => "cannot be executed: permission denied".to_owned(),
        },
        _ => "is no regular file".to_owned(),
    }
}

fn missing_interpreter(head: &[u8]) -> String {
    match interpreter(head) {
        Some(interpreter) if interpreter.ends_with('\r') => format!(
            "needs the interpreter `{}\\r`, which does not exist: its lines end with CR LF",
            interpreter.trim_end_matches('\r')
        ),
        Some(interpreter) => format!("needs the interpreter `{interpreter}`, which does not exist"),
        None if head.starts_with(b"\x7fELF") => {
            "needs a loader (the ELF interpreter) that does not exist: built for another C library or machine?"
                .to_owned()
        }
        None => "needs an interpreter that does not exist".to_owned(),
    }
}

/// The program of a `#!` line.
fn interpreter(head: &[u8]) -> Option<String> {
    let line = head.strip_prefix(b"#!")?.split(|&byte| byte == b'\n').next()?;
    let line = line.trim_ascii_start();
    let end = line
        .iter()
        .position(|&byte| byte == b' ' || byte == b'\t')
        .unwrap_or(line.len());
    Some(OsStr::from_bytes(line.get(..end)?).to_string_lossy().into_owned()).filter(|name| !name.is_empty())
}

fn text(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    let plain = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = plain.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(errno: i32, mode: u32, head: &[u8]) -> LaunchFailure {
        LaunchFailure {
            stage: LaunchStage::Exec,
            errno,
            candidate: Some(0),
            mode,
            noexec: false,
            head: head.to_vec(),
        }
    }

    fn words(failure: &LaunchFailure) -> String {
        let asked = Asked {
            program: "t".as_ref(),
            path: Some("/bin".as_ref()),
            file: Some("/bin/t".as_ref()),
            cwd: "/w".as_ref(),
            bytes: 12,
        };
        match explain(failure, &asked) {
            ToolExit::NotExecutable(words) | ToolExit::NotFound(words) => words,
            exit => panic!("{exit:?}"),
        }
    }

    #[test]
    fn a_script_with_dos_lines_is_told_of_them() {
        let words = words(&failure(libc::ENOENT, 0o100_755, b"#!/bin/sh\r\necho"));
        assert_eq!(
            words,
            "`/bin/t` needs the interpreter `/bin/sh\\r`, which does not exist: its lines end with CR LF"
        );
    }

    #[test]
    fn a_loader_that_is_missing_is_no_missing_program() {
        assert!(words(&failure(libc::ENOENT, 0o100_755, b"\x7fELF\x02")).contains("loader"));
    }

    #[test]
    fn a_folder_of_the_path_that_may_not_be_entered_hides_no_program() {
        assert_eq!(
            words(&failure(libc::EACCES, 0, b"")),
            "`t` was not found in PATH (/bin)"
        );
    }

    #[test]
    fn noexec_is_named() {
        let mut failure = failure(libc::EACCES, 0o100_755, b"#! /bin/sh -e\n");
        assert!(words(&failure).ends_with("its interpreter `/bin/sh`"));
        failure.noexec = true;
        assert_eq!(words(&failure), "`/bin/t` lies on a file system that is mounted noexec");
    }

    #[test]
    fn errors_of_the_system_read_as_parts_of_a_sentence() {
        assert_eq!(text(libc::EACCES), "permission denied");
    }
}
