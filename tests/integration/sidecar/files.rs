//! Files by `guest_fs`, beyond single lines.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Command;

use serde_json::{Value, json};

use super::peer::{Client, Sidecar, Transport};
use crate::support::{has, not_run, python};

/// Writes a file in raw bytes.
fn upload(client: &mut Client, id: u64, path: &str, content: &[u8], fields: &Value) -> Value {
    let mut request = json!({
        "op": "guest_fs", "session_id": "s", "operation": "write_file", "guest_path": path, "raw": true, "id": id
    });
    for (name, value) in fields.as_object().unwrap() {
        request[name] = value.clone();
    }
    client.say(&request);
    for piece in content.chunks(65536) {
        let line = json!({"op": "fs_data", "id": id, "len": piece.len()});
        client.send(&[format!("{line}\n").as_bytes(), piece].concat());
    }
    client.say(&json!({"op": "fs_data", "id": id, "len": 0, "eof": true}));
    client.hear().line
}

#[test]
fn a_large_folder_is_listed_in_pages_and_the_server_holds_one_of_them() {
    let sidecar = Sidecar::new(Transport::Unix);
    let folder = sidecar.staging().join("many");
    std::fs::create_dir(&folder).unwrap();
    let mut wanted: Vec<Vec<u8>> = (0..5000)
        .map(|n| format!("{:0>100}", n * 7 % 5000).into_bytes())
        .collect();
    wanted.push(b"latin \xe9".to_vec());
    wanted.push("\u{1}\u{2}\"\\".as_bytes().to_vec());
    for name in &wanted {
        std::fs::write(folder.join(OsStr::from_bytes(name)), "").unwrap();
    }
    wanted.sort();
    let mut client = sidecar.modern();
    for stat in [false, true] {
        let (mut found, mut pages, mut after) = (Vec::<Vec<u8>>::new(), 0, None::<Vec<u8>>);
        loop {
            let mut fields = json!({"id": 1, "stat": stat});
            if let Some(name) = after.take() {
                fields["after_base64"] = json!(devshell::sidecar::to_base64(&name));
            }
            let page = client.fs("list_dir", "/workspace/many", &fields);
            pages += 1;
            assert!(page.to_string().len() < 1 << 20);
            let before = found.len();
            if stat {
                for entry in page["entries"].as_array().unwrap() {
                    found.push(match entry["name"].as_str() {
                        Some(name) => name.as_bytes().to_vec(),
                        None => devshell::sidecar::from_base64(entry["name_base64"].as_str().unwrap()).unwrap(),
                    });
                }
            } else {
                let list = |field: &str| page[field].as_array().unwrap().clone();
                found.extend(
                    list("names")
                        .iter()
                        .map(|name| name.as_str().unwrap().as_bytes().to_vec()),
                );
                let base64 = list("names_base64");
                found.extend(
                    base64
                        .iter()
                        .map(|name| devshell::sidecar::from_base64(name.as_str().unwrap()).unwrap()),
                );
                found[before..].sort();
            }
            if page["more"] == false {
                break;
            }
            assert!(found.len() > before, "a page without a name");
            after = found.last().cloned();
        }
        assert!(found == wanted, "{} of {}", found.len(), wanted.len());
        assert!(pages > 2, "{pages}");
    }
    // In version 1 there is one line; it fits here, but for the name that cannot be told.
    let mut old = sidecar.version1();
    assert_eq!(old.fs("list_dir", "/workspace/many", &json!({}))["code"], "io_error");
    std::fs::remove_file(folder.join(OsStr::from_bytes(b"latin \xe9"))).unwrap();
    let names = old.fs("list_dir", "/workspace/many", &json!({}))["names"].clone();
    assert_eq!(names.as_array().unwrap().len(), 5001);
}

#[test]
fn a_file_is_there_whole_or_not_at_all() {
    let sidecar = Sidecar::new(Transport::Unix);
    let path = sidecar.staging().join("a");
    std::fs::write(&path, "before").unwrap();
    let mut client = sidecar.modern();
    client.say(&json!({
        "op": "guest_fs", "session_id": "s", "operation": "write_file", "guest_path": "/workspace/a", "raw": true, "id": 1
    }));
    client.send(&[&b"{\"op\":\"fs_data\",\"id\":1,\"len\":5}\n"[..], b"after"].concat());
    client.start(2, &["sh", "-c", "cat a; ls -A"], &json!({}));
    assert_eq!(client.result(2).out(), "beforea\n", "and nothing of it is to be seen");
    // The client vanishes in the middle.
    drop(client);
    sidecar.serves_others();
    assert_eq!(std::fs::read(&path).unwrap(), b"before");
    let mut client = sidecar.modern();
    let done = upload(&mut client, 1, "/workspace/a", b"after", &json!({}));
    assert_eq!(done["op"], "guest_fs_ok");
    assert_eq!(std::fs::read(&path).unwrap(), b"after");
    assert_eq!(std::fs::read_dir(sidecar.staging()).unwrap().count(), 1);
}

#[test]
fn modes_times_and_links_go_there_and_come_back() {
    let sidecar = Sidecar::new(Transport::Unix);
    let mut client = sidecar.modern();
    let mut id = 0_u64;
    for mode in [0o644_i64, 0o600, 0o444, 0o755, 0o000, 0o4711, 0o1777] {
        id += 1;
        let content = vec![b'x'; usize::try_from(id).unwrap() * 30_000];
        let path = format!("/workspace/f{mode:o}");
        let fields = json!({"mode": mode, "mtime_s": 1_600_000_000 - i64::try_from(id).unwrap() * 500_000_000, "mtime_ns": 123_456_789});
        assert_eq!(upload(&mut client, id, &path, &content, &fields)["op"], "guest_fs_ok");
        let stat = client.fs("stat", &path, &json!({"id": id}))["stat"].clone();
        assert_eq!(stat["mode"], mode, "{stat}");
        assert_eq!(
            (&stat["mtime_s"], &stat["mtime_ns"]),
            (&fields["mtime_s"], &json!(123_456_789))
        );
        let real = std::fs::symlink_metadata(sidecar.staging().join(format!("f{mode:o}"))).unwrap();
        assert_eq!(
            (i64::from(real.mode() & 0o7777), real.len()),
            (mode, content.len() as u64)
        );
    }
    // In the place of another its mode stays, unless one is given.
    let staging = sidecar.staging();
    std::fs::write(staging.join("script"), "").unwrap();
    std::fs::set_permissions(staging.join("script"), std::fs::Permissions::from_mode(0o750)).unwrap();
    upload(&mut client, 90, "/workspace/script", b"new", &json!({}));
    assert_eq!(
        std::fs::metadata(staging.join("script")).unwrap().mode() & 0o7777,
        0o750
    );
    for target in ["plain", "../../outside", "/etc/passwd", "a b\n\"é"] {
        let done = client.fs(
            "symlink",
            "/workspace/link",
            &json!({"target": target, "mtime_s": 5, "id": 91}),
        );
        assert_eq!(done["op"], "guest_fs_ok", "{done}");
        assert_eq!(std::fs::read_link(staging.join("link")).unwrap().to_str(), Some(target));
        let stat = client.fs("stat", "/workspace/link", &json!({"id": 92}))["stat"].clone();
        assert_eq!((&stat["target"], &stat["mtime_s"]), (&json!(target), &json!(5)));
    }
    assert_eq!(std::fs::read(sidecar.path("outside/kept")).unwrap(), b"kept");
}

#[test]
fn a_removal_takes_trees_that_are_deep_wide_and_closed() {
    let sidecar = Sidecar::new(Transport::Unix);
    let mut client = sidecar.modern();
    let script = "mkdir tree && cd tree && i=0; while [ $i -lt 1500 ]; do mkdir d && cd d || exit 1; i=$((i+1)); done; \
                  ln -s ../../outside out; cd \"$OLDROOT/tree\"; seq 3000 | xargs touch; mkdir -p closed/x; chmod 0 closed";
    client.start(
        1,
        &["sh", "-c", script],
        &json!({"env": {"OLDROOT": sidecar.staging()}}),
    );
    let ran = client.result(1);
    assert_eq!(ran.result["exit_code"], 0, "{}", String::from_utf8_lossy(&ran.stderr));
    let done = client.fs("remove", "/workspace/tree", &json!({"id": 2}));
    assert_eq!(done["op"], "guest_fs_ok", "{done}");
    assert!(!sidecar.staging().join("tree").exists());
    assert!(sidecar.path("outside/kept").exists());
    assert!(sidecar.server().descriptors() < 30);
}

#[test]
fn where_openat2_is_refused_no_link_is_followed_and_everything_else_works() {
    let test = "where_openat2_is_refused";
    if !has("python3") || std::env::consts::ARCH != "x86_64" {
        return not_run(test, "no python3 here, or another kind of machine");
    }
    let sidecar = Sidecar::new(Transport::Stdio);
    let deny = sidecar.path("deny.py");
    std::fs::write(&deny, include_str!("../tools/deny.py")).unwrap();
    let staging = sidecar.staging();
    std::fs::create_dir_all(staging.join("d/e")).unwrap();
    std::fs::write(staging.join("d/a"), "abc").unwrap();
    for (target, link) in [("d", "inner"), ("../../outside", "out"), ("d/a", "link")] {
        std::os::unix::fs::symlink(target, staging.join(link)).unwrap();
    }
    for error in ["ENOSYS", "EPERM"] {
        let plain = sidecar.command();
        let mut command = Command::new(python());
        command
            .arg(&deny)
            .args([&format!("openat2={error}"), "--"])
            .arg(plain.get_program())
            .args(plain.get_args())
            .env_clear()
            .envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .current_dir(plain.get_current_dir().unwrap());
        command
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped());
        let mut client = Client::stdio(super::peer::Server::spawn(command));
        client.say(&sidecar.handshake(None));
        client.hears("handshake_ok");
        client.say(&json!({"op": "session_start", "session_id": "s", "staging_dir": staging}));
        client.hears("session_ok");
        let mut fs = |operation: &str, path: &str| {
            client.fs(
                operation,
                path,
                &json!({"content_base64": devshell::sidecar::to_base64(b"new")}),
            )
        };
        assert_eq!(fs("read_file", "/workspace/d/a")["content_base64"], "YWJj");
        assert_eq!(fs("write_file", "/workspace/d/b")["op"], "guest_fs_ok");
        assert_eq!(fs("mkdir", "/workspace/d/x/y")["op"], "guest_fs_ok");
        assert_eq!(fs("remove", "/workspace/d/x")["op"], "guest_fs_ok");
        for path in [
            "/workspace/inner/a",
            "/workspace/out/kept",
            "/workspace/link",
            "/workspace/../x",
        ] {
            let code = fs("read_file", path)["code"].clone();
            assert!(code == "invalid_path" || code == "not_a_directory", "{path}: {code}");
        }
        for path in ["/workspace/out/kept", "/workspace/out"] {
            assert_ne!(fs("write_file", path)["op"], "guest_fs_ok", "{path}");
        }
        let mut exec = super::peer::exec(&["cat", "a"]);
        exec["guest_cwd"] = json!("/workspace/d");
        assert_eq!(client.ask(&exec)["stdout_base64"], "YWJj");
        exec["guest_cwd"] = json!("/workspace/out");
        assert_eq!(client.ask(&exec)["code"], "bad_guest_cwd");
        assert_eq!(std::fs::read(sidecar.path("outside/kept")).unwrap(), b"kept");
    }
}

#[test]
fn a_staging_folder_that_was_removed_is_told_of() {
    let sidecar = Sidecar::new(Transport::Unix);
    let mut client = sidecar.version1();
    std::fs::remove_dir_all(sidecar.staging()).unwrap();
    let sync = json!({"op": "sync_request", "session_id": "s", "direction": "pull_from_guest"});
    assert_eq!(client.ask(&sync)["code"], "staging_io");
    // One of the same name is another one.
    std::fs::create_dir(sidecar.staging()).unwrap();
    assert_eq!(client.ask(&sync)["code"], "staging_io");
    assert_ne!(
        client.fs("write_file", "/workspace/a", &json!({"content_base64": ""}))["op"],
        "guest_fs_ok"
    );
    assert_eq!(std::fs::read_dir(sidecar.staging()).unwrap().count(), 0);
}
