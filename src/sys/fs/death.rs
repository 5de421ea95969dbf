//! A death at a chosen change, for tests: as if the process had been killed before the call.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

thread_local! {
    static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
}

/// What unwinds in the place of a killed process.
struct Death;

/// Runs `act`, which dies before the change number `at` that it makes in this thread; `None` when
/// it did. Nothing in it may catch what unwinds ([`is_death`]).
pub(crate) fn dies_at<T>(at: usize, act: impl FnOnce() -> T) -> Option<T> {
    LEFT.set(Some(at));
    let outcome = catch_unwind(AssertUnwindSafe(act));
    LEFT.set(None);
    match outcome {
        Ok(value) => Some(value),
        Err(panic) if is_death(&*panic) => None,
        Err(panic) => resume_unwind(panic),
    }
}

pub(crate) fn is_death(panic: &(dyn Any + Send)) -> bool {
    panic.is::<Death>()
}

pub(super) fn before_change() {
    match LEFT.get() {
        None => {}
        Some(0) => {
            // What is dropped on the way out may look like changes of its own.
            LEFT.set(None);
            resume_unwind(Box::new(Death));
        }
        Some(left) => LEFT.set(Some(left - 1)),
    }
}
