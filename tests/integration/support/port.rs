//! A port for a server that has to be told its own.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// One that is free, below those that the kernel gives to whoever asks for any: nobody gets it
/// before its server is up.
pub fn free_port() -> u16 {
    const FIRST: u16 = 15_000;
    const COUNT: u16 = 15_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Other processes of tests begin elsewhere.
    let own = (u64::from(std::process::id()) * 97 % u64::from(COUNT)) as u16;
    let mut next = || FIRST + (own + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT;
    std::iter::repeat_with(&mut next)
        .take(usize::from(COUNT))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}
