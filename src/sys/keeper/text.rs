//! Text in fixed memory, for where nothing may be allocated.

use std::ffi::CStr;

/// A path below /proc.
pub(super) type ProcPath = Text<96>;

/// Text of at most `N - 1` bytes. Once a piece does not fit, nothing more is taken: see [`Self::is_whole`].
#[derive(Clone, Copy)]
pub(super) struct Text<const N: usize> {
    bytes: [u8; N],
    length: usize,
    whole: bool,
}

impl<const N: usize> Text<N> {
    pub(super) fn new(text: &[u8]) -> Self {
        let mut new = Self {
            bytes: [0; N],
            length: 0,
            whole: true,
        };
        new.text(text);
        new
    }

    pub(super) fn text(&mut self, text: &[u8]) {
        let end = self.length.saturating_add(text.len());
        // The last byte stays the terminator.
        if end < N
            && self.whole
            && let Some(room) = self.bytes.get_mut(self.length..end)
        {
            room.copy_from_slice(text);
            self.length = end;
        } else {
            self.whole = false;
        }
    }

    pub(super) fn number(&mut self, number: i32) {
        let mut digits = [0_u8; 10];
        let mut rest = number.unsigned_abs();
        let mut used = 0;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
            used += 1;
            if rest == 0 {
                break;
            }
        }
        self.text(digits.get(10 - used..).unwrap_or(&[]));
    }

    /// Whether everything did fit.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&[])
    }

    pub(super) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or(c"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_assembled_with_numbers() {
        let mut path = ProcPath::new(b"/proc/");
        path.number(1_048_576);
        path.text(b"/task");
        assert_eq!(path.as_c_str(), c"/proc/1048576/task");
        assert!(path.is_whole());
        path.text(&[b'x'; 96]);
        assert_eq!(path.as_c_str(), c"/proc/1048576/task", "what does not fit is left out");
        assert!(!path.is_whole());
        let mut zero = ProcPath::new(b"");
        zero.number(0);
        zero.number(i32::MAX);
        assert_eq!(zero.as_c_str(), c"02147483647");
    }
}
