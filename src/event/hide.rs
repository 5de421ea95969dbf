//! Events without the values of secrets.

use std::borrow::Cow;

use crate::mask::Mask;

use super::{EventBody, Next, Survivor};

impl EventBody {
    /// Hides the values in all texts that are not devshell's own words. Every field is named here,
    /// so that a new one does not get past. Output is left as it is: it comes in pieces, which
    /// only whoever has the whole stream can look at.
    pub(super) fn hide(&mut self, mask: &Mask) {
        match self {
            Self::RunStarted {
                run_id: _,
                workspace,
                tools,
                devshell: _,
            } => {
                hide(workspace, mask);
                tools.iter_mut().for_each(|tool| hide(tool, mask));
            }
            Self::SessionReady {
                backend: _,
                strategy: _,
                isolation: _,
                why,
                elapsed_ms: _,
            } => hide_some(why, mask),
            Self::ToolStarted {
                tool,
                argv,
                cwd,
                attempt: _,
                terminal: _,
            } => {
                hide(tool, mask);
                argv.iter_mut().for_each(|argument| hide(argument, mask));
                hide(cwd, mask);
            }
            Self::ToolOutput {
                tool,
                stream: _,
                data: _,
            } => hide(tool, mask),
            Self::ToolFinished {
                tool,
                attempt: _,
                cached: _,
                outcome: _,
                exit_code: _,
                signal: _,
                message,
                tolerated: _,
                will_retry: _,
                elapsed_ms: _,
                survivors,
            } => {
                hide(tool, mask);
                hide_some(message, mask);
                for Survivor { pid: _, argv } in survivors {
                    // Long command lines come shortened.
                    replace(argv, |argv| mask.cut_text(argv));
                }
            }
            Self::ToolSkipped { tool, why } => {
                hide(tool, mask);
                hide(why, mask);
            }
            Self::WriteBackFinished {
                state: _,
                written: _,
                deleted: _,
                conflicts,
            } => conflicts.iter_mut().for_each(|path| hide(path, mask)),
            Self::Warning { message } => hide(message, mask),
            Self::RunFinished {
                class: _,
                exit_code: _,
                tool,
                error,
                elapsed_ms: _,
                kept: _,
                next: Next { repeat, diff, apply },
            } => {
                hide_some(tool, mask);
                hide_some(error, mask);
                let words = [repeat, diff, apply].into_iter().flatten().flatten();
                words.for_each(|word| hide(word.text_mut(), mask));
            }
            Self::LockWaiting {
                pid: _,
                running_ms: _,
                limit_ms: _,
            }
            | Self::SyncProgress {
                direction: _,
                files: _,
                files_total: _,
                bytes: _,
            }
            | Self::SessionStarting { backend: _ }
            | Self::SyncFinished {
                direction: _,
                files: _,
                bytes: _,
                deleted: _,
                elapsed_ms: _,
            }
            | Self::SessionFinished { elapsed_ms: _ } => {}
        }
    }
}

fn hide(text: &mut String, mask: &Mask) {
    replace(text, |text| mask.text(text));
}

fn hide_some(text: &mut Option<String>, mask: &Mask) {
    if let Some(text) = text {
        hide(text, mask);
    }
}

fn replace(text: &mut String, by: impl FnOnce(&str) -> Cow<'_, str>) {
    if let Cow::Owned(hidden) = by(text) {
        *text = hidden;
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::event::{Emitter, Event, EventSink, OutputData, Stream, ToolOutcome, Word, WriteBackState};
    use crate::exit::Class;

    const SECRET: &str = "hunter22";

    /// Every event, with the secret wherever it can be.
    fn all() -> Vec<EventBody> {
        let text = || format!("a {SECRET} b");
        let some = || Some(text());
        let bodies = vec![
            EventBody::RunStarted {
                run_id: "r".to_owned(),
                workspace: text(),
                tools: vec![text()],
                devshell: "1".to_owned(),
            },
            EventBody::SessionReady {
                backend: "host".to_owned(),
                strategy: None,
                isolation: "view".to_owned(),
                why: some(),
                elapsed_ms: 1,
            },
            EventBody::ToolStarted {
                tool: text(),
                argv: vec!["curl".to_owned(), text()],
                cwd: text(),
                attempt: 1,
                terminal: None,
            },
            EventBody::ToolFinished {
                tool: text(),
                attempt: 1,
                cached: false,
                outcome: ToolOutcome::Failed,
                exit_code: None,
                signal: None,
                message: some(),
                tolerated: false,
                will_retry: false,
                elapsed_ms: 1,
                survivors: vec![Survivor {
                    pid: 1,
                    argv: format!("{} hunter2", text()),
                }],
            },
            EventBody::ToolSkipped {
                tool: text(),
                why: text(),
            },
            EventBody::WriteBackFinished {
                state: WriteBackState::Refused,
                written: 0,
                deleted: 0,
                conflicts: vec![text()],
            },
            EventBody::Warning { message: text() },
            EventBody::RunFinished {
                class: Class::Tool,
                exit_code: 1,
                tool: some(),
                error: some(),
                elapsed_ms: 1,
                kept: None,
                next: Next {
                    repeat: Some(vec![Word::from(text().as_str())]),
                    ..Next::default()
                },
            },
        ];
        bodies
    }

    /// Keeps the events as they would be written.
    #[derive(Default)]
    struct Kept(String);

    impl EventSink for Kept {
        fn emit(&mut self, event: &Event) -> io::Result<()> {
            self.0 += &serde_json::to_string(event)?;
            Ok(())
        }
    }

    #[test]
    fn no_event_says_what_is_to_be_hidden() {
        let mask = Mask::new([SECRET.as_bytes()]);
        for body in all() {
            let mut kept = Kept::default();
            Emitter::new(&mut kept).hiding(mask.clone()).emit(body);
            assert!(kept.0.contains("a *** b") && !kept.0.contains("hunter"), "{}", kept.0);
        }
    }

    #[test]
    fn output_passes_as_it_is() {
        let mask = Mask::new([SECRET.as_bytes()]);
        let mut kept = Kept::default();
        Emitter::new(&mut kept).hiding(mask).emit(EventBody::ToolOutput {
            tool: "t".to_owned(),
            stream: Stream::Stdout,
            data: OutputData(SECRET.into()),
        });
        assert!(kept.0.contains(SECRET));
    }
}
