//! A tool's command as one block of memory that execve(2) can use as it is: tables of offsets,
//! which the keeper turns into addresses, then the strings.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char};
use std::io::Write as _;
use std::ptr::NonNull;

use rustix::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use rustix::fs::MemfdFlags;
use rustix::io::Errno;

use crate::sys::signals::last_errno;

const WORD: usize = size_of::<usize>();
/// Numbers of candidates, arguments and variables; offsets of the working folder and of the way
/// below it.
const HEADER: usize = 5;

/// A command on devshell's side.
pub(crate) struct Command<'a> {
    /// Paths to try in this order, as execvp(3) does.
    pub(crate) candidates: &'a [CString],
    pub(crate) argv: &'a [CString],
    pub(crate) env: &'a [CString],
    pub(crate) cwd: &'a CStr,
    /// From there on to the working folder itself, without leaving `cwd` by any link; may be empty.
    pub(crate) below: &'a CStr,
}

impl Command<'_> {
    /// The block in memory that can be sent, and its length.
    pub(crate) fn share(&self) -> std::io::Result<(OwnedFd, u64)> {
        let block = self.encode();
        let memory = rustix::fs::memfd_create(c"devshell-command", MemfdFlags::CLOEXEC)?;
        let mut file = std::fs::File::from(memory);
        file.write_all(&block)?;
        Ok((file.into(), block.len() as u64))
    }

    fn encode(&self) -> Vec<u8> {
        let tables = words(self.candidates.len(), self.argv.len(), self.env.len());
        let mut head = vec![self.candidates.len(), self.argv.len(), self.env.len()];
        let mut strings = Vec::new();
        let mut add = |head: &mut Vec<usize>, text: &CStr| {
            head.push(tables * WORD + strings.len());
            strings.extend_from_slice(text.to_bytes_with_nul());
        };
        add(&mut head, self.cwd);
        add(&mut head, self.below);
        for text in self.candidates {
            add(&mut head, text);
        }
        // A free place before argv: a script without `#!` becomes the argument of a shell.
        head.extend([0, 0]);
        for text in self.argv {
            add(&mut head, text);
        }
        head.push(0);
        for text in self.env {
            add(&mut head, text);
        }
        head.push(0);
        let mut block: Vec<u8> = head.into_iter().flat_map(usize::to_ne_bytes).collect();
        block.append(&mut strings);
        block
    }
}

/// How many words come before the strings.
const fn words(candidates: usize, argv: usize, env: usize) -> usize {
    HEADER + candidates + 1 + 1 + argv + 1 + env + 1
}

/// The block as the keeper uses it: private memory of its own. Nothing here allocates.
pub(super) struct Mapped {
    base: NonNull<usize>,
    length: usize,
    candidates: usize,
    argv: usize,
}

impl Mapped {
    pub(super) fn new(memory: BorrowedFd, length: u64) -> Result<Self, Errno> {
        let length = usize::try_from(length).map_err(|_| Errno::TOOBIG)?;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new private mapping at a place of the kernel's choice.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                access,
                libc::MAP_PRIVATE,
                memory.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(last_errno());
        }
        let base = NonNull::new(base.cast::<usize>()).ok_or(Errno::NOMEM)?;
        let mut mapped = Self {
            base,
            length,
            candidates: 0,
            argv: 0,
        };
        mapped.relocate().ok_or(Errno::INVAL)?;
        Ok(mapped)
    }

    /// Checks the tables and turns their offsets into addresses.
    fn relocate(&mut self) -> Option<()> {
        // SAFETY: the mapping is `length` bytes long, page-aligned, and nobody else has it.
        let bytes = unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr().cast::<u8>(), self.length) };
        if bytes.last() != Some(&0) || bytes.len() < HEADER * WORD {
            return None;
        }
        // SAFETY: as above; whole words only.
        let head = unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.length / WORD) };
        let (&candidates, &argv, &env) = (head.first()?, head.get(1)?, head.get(2)?);
        let limit = self.length;
        if candidates > limit || argv > limit || env > limit {
            return None;
        }
        let base = self.base.as_ptr() as usize;
        for offset in head
            .get_mut(HEADER - 2..words(candidates, argv, env))?
            .iter_mut()
            .filter(|offset| **offset != 0)
        {
            if *offset >= limit {
                return None;
            }
            *offset = base.wrapping_add(*offset);
        }
        (self.candidates, self.argv) = (candidates, argv);
        Some(())
    }

    fn word(&self, index: usize) -> *mut *const c_char {
        // SAFETY: the indices used below lie within the tables that `relocate` has checked.
        unsafe { self.base.as_ptr().add(index).cast() }
    }

    pub(super) fn cwd(&self) -> *const c_char {
        // SAFETY: a word of the tables.
        unsafe { *self.word(HEADER - 2) }
    }

    pub(super) fn below(&self) -> &CStr {
        // SAFETY: as in `candidate`.
        unsafe { CStr::from_ptr(*self.word(HEADER - 1)) }
    }

    pub(super) fn candidates(&self) -> usize {
        self.candidates
    }

    /// One candidate; none behind the last.
    pub(super) fn candidate(&self, index: usize) -> Option<&CStr> {
        if index >= self.candidates {
            return None;
        }
        // SAFETY: a word of the tables: the address of a string inside the block, whose last byte is 0.
        Some(unsafe { CStr::from_ptr(*self.word(HEADER + index)) })
    }

    /// The arguments, with one free place before them.
    pub(super) fn argv(&self) -> *mut *const c_char {
        self.word(HEADER + self.candidates + 2)
    }

    pub(super) fn env(&self) -> *const *const c_char {
        self.word(HEADER + self.candidates + 2 + self.argv + 1)
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no reference into it outlives this value.
        unsafe {
            libc::munmap(self.base.as_ptr().cast(), self.length);
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::fd::AsFd as _;

    use super::*;

    fn strings(texts: &[&str]) -> Vec<CString> {
        texts.iter().map(|text| CString::new(*text).unwrap()).collect()
    }

    fn list(mut table: *const *const c_char) -> Vec<String> {
        let mut found = Vec::new();
        // SAFETY: the tables end with a null pointer.
        unsafe {
            while !(*table).is_null() {
                found.push(CStr::from_ptr(*table).to_str().unwrap().to_owned());
                table = table.add(1);
            }
        }
        found
    }

    #[test]
    fn a_command_survives_the_way_to_the_keeper() {
        let (candidates, argv, env) = (
            strings(&["/bin/a", "./a"]),
            strings(&["a", "", "x y"]),
            strings(&["K=V"]),
        );
        let command = Command {
            candidates: &candidates,
            argv: &argv,
            env: &env,
            cwd: c"/tmp",
            below: c"x/y",
        };
        let (memory, length) = command.share().unwrap();
        let mapped = Mapped::new(memory.as_fd(), length).unwrap();
        assert_eq!(mapped.candidate(1), Some(c"./a"));
        assert_eq!(mapped.candidate(2), None);
        assert_eq!(list(mapped.argv()), ["a", "", "x y"]);
        assert_eq!(list(mapped.env()), ["K=V"]);
        // SAFETY: the folder is a string of the block.
        assert_eq!(unsafe { CStr::from_ptr(mapped.cwd()) }, c"/tmp");
    }

    #[test]
    fn tables_that_point_outside_are_refused() {
        let argv = strings(&["a"]);
        let mut block = Command {
            candidates: &argv,
            argv: &argv,
            env: &[],
            cwd: c"/",
            below: c"x/y",
        }
        .encode();
        block[HEADER * WORD..(HEADER + 1) * WORD].copy_from_slice(&100_000_usize.to_ne_bytes());
        let memory = rustix::fs::memfd_create(c"test", MemfdFlags::CLOEXEC).unwrap();
        rustix::io::write(&memory, &block).unwrap();
        assert_eq!(
            Mapped::new(memory.as_fd(), block.len() as u64).err(),
            Some(Errno::INVAL)
        );
    }
}
