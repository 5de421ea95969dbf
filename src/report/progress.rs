//! The progress line on a terminal; the only user of indicatif.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A line at the bottom of the terminal with what is going on and for how long. It is there
/// until the tool speaks: the output then shows what is going on, and is never torn by it.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    on: bool,
}

impl Progress {
    /// `on`: stderr is a terminal that can move its cursor.
    pub(super) fn new(on: bool) -> Self {
        Self { bar: None, on }
    }

    /// Shows what is going on from now.
    pub(super) fn show(&mut self, what: &str) {
        self.clear();
        if !self.on {
            return;
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        self.bar = Some(bar);
    }

    /// Takes the line away; nothing of it stays on the screen.
    pub(super) fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
