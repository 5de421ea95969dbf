//! Records and contents as bytes in frames.

use crate::sidecar::{MAX_FRAME, NoRecord, TreeRecord};

use super::{MirrorError, nonsense};

/// Carries frames both ways, in order.
pub(crate) trait Wire {
    /// Sends a frame of 1 to [`MAX_FRAME`] bytes.
    ///
    /// # Errors
    /// [`MirrorError::Cut`], and [`MirrorError::Local`] when the caller wished to stop.
    fn send(&mut self, frame: &[u8]) -> Result<(), MirrorError>;

    /// The next frame.
    ///
    /// # Errors
    /// As [`Self::send`].
    fn receive(&mut self) -> Result<Vec<u8>, MirrorError>;
}

/// A wire with what is half said and half heard.
pub(crate) struct Stream<'a> {
    wire: &'a mut dyn Wire,
    /// Not sent yet.
    out: Vec<u8>,
    /// Came, and from `at` on not yet asked for.
    input: Vec<u8>,
    at: usize,
}

impl<'a> Stream<'a> {
    pub(crate) fn new(wire: &'a mut dyn Wire) -> Self {
        Self {
            wire,
            out: Vec::new(),
            input: Vec::new(),
            at: 0,
        }
    }

    /// Says a record; it goes with the next full frame.
    pub(super) fn say(&mut self, record: &TreeRecord) -> Result<(), MirrorError> {
        record.write_to(&mut self.out);
        self.send_full()
    }

    /// Says a piece of a content, of at most [`MAX_FRAME`] bytes.
    pub(super) fn say_piece(&mut self, bytes: &[u8]) -> Result<(), MirrorError> {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        TreeRecord::Piece { len }.write_to(&mut self.out);
        self.out.extend_from_slice(bytes);
        self.send_full()
    }

    /// Sends what was said.
    pub(super) fn flush(&mut self) -> Result<(), MirrorError> {
        if !self.out.is_empty() {
            self.wire.send(&self.out)?;
            self.out.clear();
        }
        Ok(())
    }

    fn send_full(&mut self) -> Result<(), MirrorError> {
        let mut sent = 0;
        while self.out.len() - sent >= MAX_FRAME {
            self.wire.send(&self.out[sent..sent + MAX_FRAME])?;
            sent += MAX_FRAME;
        }
        self.out.drain(..sent);
        Ok(())
    }

    /// The next record.
    pub(super) fn hear(&mut self) -> Result<TreeRecord<'_>, MirrorError> {
        let length = loop {
            match TreeRecord::read_from(&self.input[self.at..]) {
                Ok((_, length)) => break length,
                Err(NoRecord::Unfinished) => self.fill()?,
                Err(NoRecord::Malformed) => return nonsense("what came is no record of a transfer"),
            }
        };
        let from = self.at;
        self.at += length;
        match TreeRecord::read_from(&self.input[from..]) {
            Ok((record, _)) => Ok(record),
            Err(_) => nonsense("what came is no record of a transfer"),
        }
    }

    /// The `len` bytes of a piece, as they come.
    pub(super) fn hear_piece(
        &mut self,
        len: u32,
        mut each: impl FnMut(&[u8]) -> Result<(), MirrorError>,
    ) -> Result<(), MirrorError> {
        let mut left = len as usize;
        while left > 0 {
            if self.at == self.input.len() {
                self.fill()?;
            }
            let taken = left.min(self.input.len() - self.at);
            each(&self.input[self.at..self.at + taken])?;
            self.at += taken;
            left -= taken;
        }
        Ok(())
    }

    fn fill(&mut self) -> Result<(), MirrorError> {
        let frame = self.wire.receive()?;
        if self.at == self.input.len() {
            self.input = frame;
        } else {
            self.input.drain(..self.at);
            self.input.extend_from_slice(&frame);
        }
        self.at = 0;
        Ok(())
    }
}
