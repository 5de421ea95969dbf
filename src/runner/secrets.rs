//! The values that tools get and nobody else sees.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use crate::event::Stream;
use crate::mask::{Mask, MaskStream};

/// The secrets of a run. The default is none.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    given: Vec<Secret>,
    mask: Mask,
}

#[derive(Clone)]
struct Secret {
    name: String,
    value: OsString,
}

impl Secrets {
    /// Secrets by name, with their values. What else is to be hidden, `hidden`, is given to no tool.
    #[must_use]
    pub fn new(given: Vec<(String, OsString)>, hidden: &[OsString]) -> Self {
        let values = given.iter().map(|(_, value)| value).chain(hidden);
        let mask = Mask::new(values.map(|value| value.as_bytes()));
        let given = given.into_iter().map(|(name, value)| Secret { name, value });
        Self {
            given: given.collect(),
            mask,
        }
    }

    /// What hides them.
    #[must_use]
    pub fn mask(&self) -> &Mask {
        &self.mask
    }

    /// Puts the secrets of these names into an environment.
    pub(super) fn add_to(&self, env: &mut Vec<(OsString, OsString)>, names: &[String]) {
        for Secret { name, value } in self.given.iter().filter(|secret| names.contains(&secret.name)) {
            env.retain(|(other, _)| other != OsStr::new(name));
            env.push((name.into(), value.clone()));
        }
    }
}

/// Says which there are, and not what they are.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}=***", self.name)
    }
}

/// The output of one tool without secrets.
pub(super) struct MaskedOutput {
    stdout: MaskStream,
    stderr: MaskStream,
}

impl MaskedOutput {
    pub(super) fn new(mask: &Mask) -> Self {
        Self {
            stdout: mask.stream(),
            stderr: mask.stream(),
        }
    }

    /// What can be handed on once `bytes` have come.
    pub(super) fn push(&mut self, stream: Stream, bytes: Vec<u8>) -> Vec<u8> {
        match stream {
            Stream::Stdout => self.stdout.push(bytes),
            Stream::Stderr => self.stderr.push(bytes),
        }
    }

    /// What is left at the end.
    pub(super) fn rest(self) -> [(Stream, Vec<u8>); 2] {
        [
            (Stream::Stdout, self.stdout.finish()),
            (Stream::Stderr, self.stderr.finish()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_gets_its_own_secrets_over_what_was_passed() {
        let secrets = [("A", "hunter22"), ("B", "hunter33")].map(|(name, value)| (name.to_owned(), value.into()));
        let secrets = Secrets::new(secrets.to_vec(), &["hunter44".into()]);
        let mut env = vec![("A".into(), "passed".into()), ("C".into(), "c".into())];
        secrets.add_to(&mut env, &["A".to_owned()]);
        assert_eq!(env, [("C".into(), "c".into()), ("A".into(), "hunter22".into())]);
        assert_eq!(secrets.mask().text("hunter22 hunter33 hunter44"), "*** *** ***");
        assert!(!format!("{secrets:?}").contains("hunter"), "{secrets:?}");
    }
}
