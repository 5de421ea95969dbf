//! A tool over a tree that exists only in memory: `cargo run --example in_memory`.

#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use devshell::{SessionHolder, Vfs};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut vfs = Vfs::new();
    vfs.mkdir("/hello")?;
    vfs.write_file("/hello/names.txt", b"Lima\nBeta\nHost\n", 0o644)?;

    let mut session = SessionHolder::new_host();
    session.ensure_ready(&vfs, "/hello")?;
    let args = ["-o", "sorted.txt", "names.txt"].map(str::to_owned);
    let status = session.run_rust_tool(&mut vfs, "/hello", "sort", &args)?;
    session.shutdown(&mut vfs, "/hello")?;

    println!("sort: {status}");
    for (path, _) in vfs.changes() {
        println!("in the tree: {path}");
    }
    print!("{}", String::from_utf8_lossy(&vfs.read_file("/hello/sorted.txt")?));
    Ok(())
}
