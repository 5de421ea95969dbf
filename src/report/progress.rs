//! Bars and sizes as text; the only user of indicatif.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{BinaryBytes, ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

/// A bar of this many columns: `[=======>      ]`.
pub(super) fn bar(done: u64, all: u64, columns: usize) -> String {
    let page = Page::default();
    let style = format!("[{{bar:{}}}]", columns.saturating_sub(2).max(1));
    if let Ok(style) = ProgressStyle::with_template(&style) {
        let target = ProgressDrawTarget::term_like(Box::new(page.clone()));
        let bar = ProgressBar::with_draw_target(Some(all), target).with_position(done);
        bar.set_style(style.progress_chars("=> "));
        bar.tick();
        return page.take();
    }
    String::new()
}

/// `1.50 MiB`
pub(super) fn size(bytes: u64) -> String {
    BinaryBytes(bytes).to_string()
}

/// Takes what indicatif draws, instead of a terminal.
#[derive(Debug, Clone, Default)]
struct Page(Arc<Mutex<String>>);

impl Page {
    fn take(&self) -> String {
        let text = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        text.trim().to_owned()
    }
}

impl TermLike for Page {
    fn width(&self) -> u16 {
        512
    }

    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(text)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_str(text);
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_wide_as_it_was_asked_for() {
        assert_eq!(bar(0, 4, 10), "[        ]");
        assert_eq!(bar(2, 4, 10), "[====>   ]");
        assert_eq!(bar(4, 4, 10), "[========]");
    }
}
