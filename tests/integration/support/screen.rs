//! A terminal with a devshell in it, and somebody who types.

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, Termios, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

use super::{Project, alive, devshell, wait_for};

/// A terminal of 33 lines and 111 columns whose session a devshell leads.
pub struct Screen {
    ours: Option<OwnedFd>,
    pub child: Child,
    shown: Arc<Mutex<Vec<u8>>>,
    gone: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Screen {
    /// devshell with all its streams on the terminal.
    pub fn new(project: &Project, args: &[&str]) -> Self {
        Self::with(project, args, |_| ())
    }

    /// The same, after something else was done to the command: a stream that is no terminal, a variable.
    pub fn with(project: &Project, args: &[&str], change: impl FnOnce(&mut Command)) -> Self {
        Self::on(project, args, change, |_| ())
    }

    /// devshell started by another program with arguments of its own.
    pub fn through(project: &Project, before: &[&str], args: &[&str]) -> Self {
        Self::start(project, before, args, |_| (), |_| ())
    }

    /// devshell on a terminal whose settings were changed first.
    pub fn on(
        project: &Project,
        args: &[&str],
        change: impl FnOnce(&mut Command),
        settings: impl FnOnce(&mut Termios),
    ) -> Self {
        Self::start(project, &[], args, change, settings)
    }

    fn start(
        project: &Project,
        before: &[&str],
        args: &[&str],
        change: impl FnOnce(&mut Command),
        settings: impl FnOnce(&mut Termios),
    ) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        unlockpt(&ours).unwrap();
        let size = Winsize {
            ws_row: 33,
            ws_col: 111,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&ours, size).unwrap();
        let mut termios = tcgetattr(&ours).unwrap();
        settings(&mut termios);
        tcsetattr(&ours, OptionalActions::Now, &termios).unwrap();
        let end = || {
            let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
            Stdio::from(ioctl_tiocgptpeer(&ours, flags).unwrap())
        };
        // Makes its stdin the controlling terminal, so that one stays the terminal.
        let mut command = project.program("setsid");
        command.arg("--ctty").args(before).arg(devshell()).args(args);
        command.env("TERM", "xterm");
        command.stdin(end()).stdout(end()).stderr(end());
        change(&mut command);
        let child = command.spawn().unwrap();
        drop(command);
        let shown = Arc::new(Mutex::new(Vec::new()));
        let gone = Arc::new(AtomicBool::new(false));
        let (from, to, stop) = (ours.try_clone().unwrap(), shown.clone(), gone.clone());
        let reader = std::thread::spawn(move || read(&from, &to, &stop));
        Self {
            ours: Some(ours),
            child,
            shown,
            gone,
            reader: Some(reader),
        }
    }

    /// What has come so far.
    pub fn bytes(&self) -> Vec<u8> {
        self.shown.lock().unwrap().clone()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// Waits until the terminal shows this.
    #[track_caller]
    pub fn shows(&self, text: &str) {
        wait_for(
            || self.text().contains(text),
            &format!("`{text}` on the screen:\n{}", self.text()),
        );
    }

    pub fn types(&self, keys: &str) {
        let ours = self.ours.as_ref().unwrap();
        std::fs::File::from(ours.try_clone().unwrap())
            .write_all(keys.as_bytes())
            .unwrap();
    }

    /// The window gets another size.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(self.ours.as_ref().unwrap(), size).unwrap();
    }

    /// How the terminal treats what is typed and written.
    pub fn settings(&self) -> String {
        let settings = tcgetattr(self.ours.as_ref().unwrap()).unwrap();
        format!(
            "{:?} {:?} {:?}",
            settings.input_modes, settings.output_modes, settings.local_modes
        )
    }

    /// The window is closed.
    pub fn hang_up(&mut self) {
        self.gone.store(true, Ordering::SeqCst);
        self.reader.take().unwrap().join().unwrap();
        self.ours = None;
    }

    /// Somebody else changes that.
    pub fn set(&self, change: impl FnOnce(&mut Termios)) {
        let ours = self.ours.as_ref().unwrap();
        let mut settings = tcgetattr(ours).unwrap();
        change(&mut settings);
        tcsetattr(ours, OptionalActions::Now, &settings).unwrap();
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for devshell's end, and for the last of what it shows.
    #[track_caller]
    pub fn end(&mut self) -> ExitStatus {
        let pid = self.child.id();
        wait_for(|| !alive(pid), "the end of devshell");
        let status = self.child.wait().unwrap();
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        status
    }

    /// As [`Self::end`], with this exit code.
    #[track_caller]
    pub fn ends_with(&mut self, code: i32) {
        let status = self.end();
        assert_eq!(status.code(), Some(code), "{status}; the screen:\n{}", self.text());
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::SeqCst);
        if alive(self.child.id()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// Reads until nobody has the other end any more, or the window is closed.
fn read(from: &OwnedFd, to: &Mutex<Vec<u8>>, stop: &AtomicBool) {
    let mut buffer = vec![0; 64 * 1024];
    while !stop.load(Ordering::SeqCst) {
        let mut watched = [PollFd::new(from, PollFlags::IN)];
        let limit = Timespec {
            tv_sec: 0,
            tv_nsec: 20_000_000,
        };
        if !matches!(poll(&mut watched, Some(&limit)), Ok(1..)) {
            continue;
        }
        match rustix::io::read(from, &mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(length) => to.lock().unwrap().extend_from_slice(&buffer[..length]),
        }
    }
}
