//! What lies between two ends of a wire in a test: it is slow, or it breaks.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What it does to a connection.
#[derive(Debug, Clone, Copy)]
pub enum Way {
    /// Hands on everything after a while.
    Slow(Duration),
    /// Hands on one byte at a time.
    Trickle,
    /// Breaks when so many bytes went to the server.
    CutThere(u64),
    /// Breaks when so many bytes came from the server.
    CutBack(u64),
}

/// Listens on `at` until the test's process ends; `way` is asked for each connection.
pub fn between(at: &Path, server: &Path, way: impl Fn() -> Way + Send + Sync + 'static) {
    let _ = std::fs::remove_file(at);
    let (listener, server, way) = (UnixListener::bind(at).unwrap(), server.to_owned(), Arc::new(way));
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = UnixStream::connect(&server) else {
                continue;
            };
            let way = way();
            let pair = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || carry(&client, &server, way, true));
            std::thread::spawn(move || carry(&pair.1, &pair.0, way, false));
        }
    });
}

fn carry(mut from: &UnixStream, mut to: &UnixStream, way: Way, is_there: bool) {
    let mut left = match way {
        Way::CutThere(bytes) if is_there => bytes,
        Way::CutBack(bytes) if !is_there => bytes,
        _ => u64::MAX,
    };
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = match from.read(&mut buffer) {
            Ok(length) if length > 0 => length,
            _ => break,
        };
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(length);
        let width = match way {
            Way::Trickle => 1,
            Way::Slow(pause) => {
                std::thread::sleep(pause);
                length
            }
            _ => length,
        };
        if buffer[..most].chunks(width).any(|piece| to.write_all(piece).is_err()) {
            break;
        }
        left -= most as u64;
        if left == 0 {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
