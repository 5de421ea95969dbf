//! The library's face, as a program written against the original would use it.

use devshell::config::BackendName;
use devshell::guest_fs::{GuestFsError, GuestFsOps as _, MockGuestFsOps, logical_path_to_guest};
use devshell::{SessionHolder, Vfs, VmConfig, VmError, WorkspaceMode};

fn shell(script: &str) -> (String, Vec<String>) {
    ("sh".to_owned(), vec!["-c".to_owned(), script.to_owned()])
}

#[test]
fn a_tool_runs_over_a_tree_that_is_only_in_memory() {
    let mut vfs = Vfs::new();
    vfs.mkdir("/hello/sub").unwrap();
    vfs.write_file("/hello/sub/in.txt", b"in", 0o644).unwrap();
    vfs.write_file("/hello/gone.txt", b"gone", 0o644).unwrap();
    let mut session = SessionHolder::new_host();
    assert!(session.is_host_only() && !session.is_guest_primary() && !session.is_guest_primary_gamma());
    assert!(session.guest_primary_fs_ops_mut().is_none());
    session.ensure_ready(&vfs, "/hello").unwrap();
    let (program, args) = shell("cat in.txt > out.txt; rm ../gone.txt; ln -s in.txt link");
    let status = session.run_rust_tool(&mut vfs, "/hello/sub", &program, &args).unwrap();
    assert!(status.success());
    let (program, args) = shell("exit 7");
    assert_eq!(
        session
            .run_rust_tool(&mut vfs, "/hello", &program, &args)
            .unwrap()
            .code(),
        Some(7)
    );
    let (program, args) = shell("kill -9 $$");
    let killed = session.run_rust_tool(&mut vfs, "/hello", &program, &args).unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&killed), Some(9));
    session.shutdown(&mut vfs, "/hello").unwrap();
    drop(session);
    assert_eq!(
        vfs.read_file("/hello/sub/out.txt").unwrap(),
        b"in",
        "contents live as long as the Vfs"
    );
    assert_eq!(
        vfs.read_link("/hello/sub/link").unwrap(),
        std::path::Path::new("in.txt")
    );
    assert!(!vfs.exists("/hello/gone.txt") && vfs.exists("/hello/sub/in.txt"));
}

#[test]
fn a_tool_runs_over_a_folder_and_the_folder_is_written_by_nobody_but_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("hello");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("file"), "original").unwrap();
    let mut vfs = Vfs::from_dir(&root).unwrap();
    let mut session = SessionHolder::try_from_config(&VmConfig::disabled()).unwrap();
    session.ensure_ready(&vfs, "/hello").unwrap();
    let (program, args) = shell("echo changed > file; echo new > new");
    assert!(
        session
            .run_rust_tool(&mut vfs, "/hello", &program, &args)
            .unwrap()
            .success()
    );
    session.shutdown(&mut vfs, "/hello").unwrap();
    assert_eq!(vfs.read_file("/hello/file").unwrap(), b"changed\n");
    assert_eq!(std::fs::read_to_string(root.join("file")).unwrap(), "original");
    assert_eq!(vfs.changes().count(), 2);
}

#[test]
fn a_program_that_is_not_there_is_not_a_success() {
    let mut vfs = Vfs::new();
    vfs.mkdir("/hello").unwrap();
    let mut session = SessionHolder::new_host();
    session.ensure_ready(&vfs, "/hello").unwrap();
    let status = session
        .run_rust_tool(&mut vfs, "/hello", "no-such-program-anywhere", &[])
        .unwrap();
    assert_eq!(status.code(), Some(127));
    let status = session.run_rust_tool(&mut vfs, "/hello/absent", "true", &[]).unwrap();
    assert_eq!(status.code(), Some(126));
    session.shutdown(&mut vfs, "/hello").unwrap();
}

#[test]
fn a_backend_that_is_not_there_is_an_error_and_never_the_host() {
    for backend in [BackendName::Lima, BackendName::Beta, BackendName::Remote] {
        let config = VmConfig {
            backend,
            limactl: "/no/such/limactl".into(),
            ..VmConfig::default()
        };
        let error = SessionHolder::try_from_config(&config)
            .err()
            .unwrap_or_else(|| panic!("{backend:?} became a session"));
        let is_right = match backend {
            BackendName::Lima => matches!(error, VmError::Lima(_)),
            // Nothing says where the sidecar is.
            BackendName::Beta => matches!(error, VmError::Config(_)),
            _ => matches!(error, VmError::BackendNotImplemented(_)),
        };
        assert!(is_right, "{error:?}");
    }
    assert_eq!(VmConfig::disabled().workspace_mode_effective(), WorkspaceMode::Sync);
    assert!(VmConfig::disabled().use_host_sandbox());
}

#[test]
fn guest_paths_keep_the_whole_path_and_the_mock_behaves_like_a_file_system() {
    let a = logical_path_to_guest("/workspace", "/a/proj").unwrap();
    let b = logical_path_to_guest("/workspace", "/b/proj").unwrap();
    assert_eq!((a.as_str(), b.as_str()), ("/workspace/a/proj", "/workspace/b/proj"));
    let mut fs = MockGuestFsOps::new("/workspace").unwrap();
    fs.mkdir("/workspace/hello/deep").unwrap();
    fs.write_file("/workspace/hello/deep/f", b"x").unwrap();
    assert_eq!(fs.read_file("/workspace/hello/deep/f").unwrap(), b"x");
    assert!(matches!(
        fs.write_file("/workspace/hello/deep", b"x"),
        Err(GuestFsError::IsADirectory(_))
    ));
    assert!(matches!(
        fs.read_file("/workspace/absent"),
        Err(GuestFsError::NotFound(_))
    ));
    assert!(matches!(fs.list_dir("relative"), Err(GuestFsError::InvalidPath { .. })));
    fs.remove("/workspace/hello").unwrap();
    assert!(fs.list_dir("/workspace").unwrap().is_empty());
}
