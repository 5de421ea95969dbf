//! Faults that tests ask for. Outside of tests there are none.

#[cfg(test)]
type OnStep = Option<Box<dyn Fn(usize)>>;

#[cfg(test)]
thread_local! {
    /// The step before which a commit of this thread fails.
    pub(crate) static FAIL_AT: std::cell::Cell<Option<usize>> = const { std::cell::Cell::new(None) };
    /// What happens besides before each step of a commit of this thread.
    pub(crate) static ON_STEP: std::cell::RefCell<OnStep> = const { std::cell::RefCell::new(None) };
    /// Whether the file system of this thread's commits cannot exchange.
    pub(crate) static NO_EXCHANGE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

#[cfg(test)]
pub(super) fn at_step(number: usize) -> std::io::Result<()> {
    ON_STEP.with_borrow(|act| {
        if let Some(act) = act {
            act(number);
        }
    });
    match FAIL_AT.get() {
        Some(at) if at == number => Err(std::io::Error::other("a test asked for this")),
        _ => Ok(()),
    }
}

#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "in tests it can fail")]
pub(super) fn at_step(_number: usize) -> std::io::Result<()> {
    Ok(())
}

pub(super) fn no_exchange() -> bool {
    #[cfg(test)]
    return NO_EXCHANGE.get();
    #[cfg(not(test))]
    false
}

/// Whether a panic stands for the death of the process: then nothing more is done.
pub(super) fn is_death(panic: &(dyn std::any::Any + Send)) -> bool {
    #[cfg(test)]
    return crate::sys::fs::death::is_death(panic);
    #[cfg(not(test))]
    {
        let _ = panic;
        false
    }
}
