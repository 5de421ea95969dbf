//! Work during which a signal is answered in words as it comes.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::event::{Emitter, Event, EventSink};
use crate::process::Cancel;

/// A signal that came before the work is told of again only if this takes longer.
const PATIENCE: Duration = Duration::from_millis(500);

enum Told {
    Signal,
    Done,
}

/// Does `work` and says by `words`, in the middle of it, what a signal means for it. Where no
/// thread can be had for that, it is not said.
pub(super) fn told<T>(
    emitter: &mut Emitter,
    cancel: &Cancel,
    words: fn(&Cancel) -> String,
    work: impl FnOnce(&mut Emitter) -> T,
) -> T {
    let (sender, receiver) = mpsc::channel();
    let signal = sender.clone();
    cancel.at_each(Some(Box::new(move || {
        let _ = signal.send(Told::Signal);
    })));
    let shared = Shared(Mutex::new(emitter));
    let emitter = &shared;
    let say = move || {
        let mut is_owed = cancel.signal().is_some();
        loop {
            let told = if is_owed {
                receiver.recv_timeout(PATIENCE)
            } else {
                receiver.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            match told {
                Ok(Told::Signal) | Err(RecvTimeoutError::Timeout) => {
                    is_owed = false;
                    // A wish without a signal is that of whoever cannot report any more.
                    if cancel.signal().is_some() {
                        emitter.lock().warn(words(cancel));
                    }
                }
                Ok(Told::Done) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    };
    std::thread::scope(|scope| {
        let _end = End { cancel, sender };
        let thread = std::thread::Builder::new().name("devshell-told".to_owned());
        let _ = thread.spawn_scoped(scope, say);
        work(&mut Emitter::new(&mut Relay(emitter)))
    })
}

/// Ends the telling, also when the work panics.
struct End<'a> {
    cancel: &'a Cancel,
    sender: Sender<Told>,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.cancel.at_each(None);
        let _ = self.sender.send(Told::Done);
    }
}

/// The emitter, which the work and the telling use in turns.
struct Shared<'a, 'e>(Mutex<&'a mut Emitter<'e>>);

impl<'a, 'e> Shared<'a, 'e> {
    fn lock(&self) -> MutexGuard<'_, &'a mut Emitter<'e>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stamps the events of the work anew: the work has an emitter of its own, with a clock of its own.
struct Relay<'s, 'a, 'e>(&'s Shared<'a, 'e>);

impl EventSink for Relay<'_, '_, '_> {
    fn emit(&mut self, event: &Event) -> io::Result<()> {
        self.0.lock().emit(event.body.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventBody;

    /// What was said, in order.
    #[derive(Default)]
    struct Heard(Vec<String>);

    impl EventSink for Heard {
        fn emit(&mut self, event: &Event) -> io::Result<()> {
            if let EventBody::Warning { message } = &event.body {
                self.0.push(message.clone());
            }
            Ok(())
        }
    }

    fn count(cancel: &Cancel) -> String {
        format!("signal {}", cancel.count())
    }

    #[test]
    fn a_signal_is_answered_while_the_work_goes_on_and_its_events_stay_in_order() {
        let (mut heard, cancel) = (Heard::default(), Cancel::new());
        let result = told(&mut Emitter::new(&mut heard), &cancel, count, |emitter| {
            emitter.warn("one");
            cancel.raise(2);
            // Not before it is told: the words look at how many have come.
            std::thread::sleep(Duration::from_millis(100));
            emitter.warn("two");
            cancel.raise(2);
            7
        });
        assert_eq!(result, 7);
        assert_eq!(heard.0, ["one", "signal 1", "two", "signal 2"]);
    }

    #[test]
    fn a_signal_from_before_is_told_of_only_when_it_takes_long() {
        let cancel = Cancel::new();
        cancel.raise(2);
        for (work, expected) in [(Duration::ZERO, 0), (PATIENCE * 3, 1)] {
            let mut heard = Heard::default();
            told(&mut Emitter::new(&mut heard), &cancel, count, |_| {
                std::thread::sleep(work)
            });
            assert_eq!(heard.0.len(), expected, "{work:?}");
        }
    }

    #[test]
    fn a_panic_of_the_work_is_handed_on() {
        let (mut heard, cancel) = (Heard::default(), Cancel::new());
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            told(&mut Emitter::new(&mut heard), &cancel, count, |_| panic!("of the work"))
        }));
        assert!(caught.is_err());
    }
}
