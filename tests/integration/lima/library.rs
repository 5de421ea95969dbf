//! The library over a scripted limactl, and what doctor says.

use crate::support::devshell_vm;

use super::scripted::{Lima, TRUE, agent, agent_name, in_each_way, is_carried, set_agent};

in_each_way!(the_library_runs_in_the_guest_and_hands_out_its_files);

#[test]
fn the_doctor_looks_into_a_guest_that_runs_and_starts_none() {
    let checks = |lima: &Lima| {
        let ran = lima.project.devshell(&["doctor", "--json", "--backend", "lima"]);
        let report: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
        let backends = report["backends"].as_array().unwrap().clone();
        let of_lima = backends
            .into_iter()
            .find(|backend| backend["backend"] == "lima")
            .unwrap();
        of_lima["checks"].as_array().unwrap().clone()
    };
    let has = |checks: &[serde_json::Value], name: &str| checks.iter().any(|check| check["check"] == name);
    let lima = Lima::running(TRUE);
    let running = checks(&lima);
    assert!(
        has(&running, "cc") && has(&running, "cargo") && has(&running, "disk"),
        "{running:#?}"
    );
    let agent = |checks: &[serde_json::Value]| {
        let found = checks.iter().find(|check| check["check"] == "agent").unwrap();
        format!("{} {}", found["state"], found["found"])
    };
    assert!(agent(&running).contains("which the guest has"), "{running:#?}");
    std::fs::remove_file(lima.guest_cache().join(agent_name())).unwrap();
    assert!(agent(&checks(&lima)).contains("a run puts it there"));
    lima.put("arch", "s390x");
    let other = agent(&checks(&lima));
    assert!(
        other.contains("warning") && other.contains("the guest is s390x"),
        "{other}"
    );
    let mount = |lima: &Lima| {
        let found = checks(lima);
        let found = found.iter().find(|check| check["check"] == "mount").unwrap();
        format!("{} {}", found["state"], found["found"])
    };
    let unseen = Lima::running(TRUE);
    unseen.put("mounts", "[]");
    assert!(mount(&unseen).contains("info") && mount(&unseen).contains("the agent carries the tree"));
    unseen.put("arch", "s390x");
    assert!(mount(&unseen).contains("problem"), "{}", mount(&unseen));
    set_agent("off");
    assert!(agent(&checks(&Lima::running(TRUE))).contains("off"));
    set_agent("/etc/passwd");
    assert!(agent(&checks(&Lima::running(TRUE))).contains("problem"));
    set_agent("auto");
    let dead = checks(&Lima::running(TRUE).wrong("ssh"));
    let ssh = dead.iter().find(|check| check["check"] == "ssh").unwrap();
    assert!(ssh.to_string().contains("Connection closed by remote host"), "{ssh}");
    let stopped = Lima::new("Stopped", TRUE);
    assert!(!has(&checks(&stopped), "cc"));
    assert!(!stopped.get("calls").contains("start"));
}

fn the_library_runs_in_the_guest_and_hands_out_its_files() {
    use devshell::{GuestFsError, SessionHolder, Vfs, VmConfig, VmError};
    let lima = Lima::running(TRUE);
    let config = |mode: &str, limactl: &str| {
        let shared = lima.project.beside("shared").to_string_lossy().into_owned();
        // Beside the tests' own program there is none.
        let program = devshell_vm().to_string_lossy().into_owned();
        let vars = [
            (
                "DEVSHELL__VM__LIMA__AGENT",
                if agent() == "off" { "off" } else { &program },
            ),
            ("DEVSHELL__VM__LIMA__CARRY", if is_carried() { "auto" } else { "mount" }),
            ("DEVSHELL_VM_BACKEND", "lima"),
            ("DEVSHELL_VM_LIMACTL", limactl),
            ("DEVSHELL_VM_LIMA_INSTANCE", "t"),
            ("DEVSHELL__VM__WORKSPACE_PARENT", &shared),
            ("DEVSHELL__VM__GUEST_WORKSPACE", &shared),
            ("DEVSHELL__VM__WORKSPACE_MODE", mode),
        ];
        let vars = vars.map(|(name, value)| (name.into(), value.into()));
        VmConfig::from_vars(vars, "/".into()).unwrap()
    };
    let limactl = lima.project.beside("lima/limactl").to_string_lossy().into_owned();
    let missing = SessionHolder::try_from_config(&config("sync", "/no/such/limactl"));
    assert!(matches!(missing, Err(VmError::Lima(_))));

    let mut session = SessionHolder::try_from_config(&config("sync", &limactl)).unwrap();
    let mut vfs = Vfs::from_dir(&lima.project.root).unwrap();
    session.ensure_ready(&vfs, "/project").unwrap();
    assert!(!session.is_host_only() && !session.is_guest_primary_gamma());
    let script = ["-c", "echo x > made; exit 7"].map(str::to_owned);
    let status = session.run_rust_tool(&mut vfs, "/project", "sh", &script).unwrap();
    assert_eq!(status.code(), Some(7));
    session.shutdown(&mut vfs, "/project").unwrap();
    assert!(vfs.exists(devshell::vfs::VfsPath::parse("/project/made").unwrap()));

    let mut session = SessionHolder::try_from_config(&config("guest", &limactl)).unwrap();
    session.ensure_ready(&vfs, "/project").unwrap();
    assert!(session.is_guest_primary_gamma() && session.guest_primary_gamma_mut().is_some());
    let outside = lima.project.beside("outside");
    std::fs::create_dir(&outside).unwrap();
    let (files, mount) = session.guest_primary_fs_ops_mut().unwrap();
    let at = |name: &str| format!("{mount}/{name}");
    files.mkdir(&at("a/b")).unwrap();
    files.write_file(&at("a/it's\n"), b"x\0y").unwrap();
    assert_eq!(files.read_file(&at("a/it's\n")).unwrap(), b"x\0y");
    assert_eq!(files.list_dir(&at("a")).unwrap(), ["b", "it's\n"]);
    assert!(matches!(files.read_file(&at("a")), Err(GuestFsError::IsADirectory(_))));
    assert!(matches!(
        files.write_file(&at("a/b"), b""),
        Err(GuestFsError::IsADirectory(_))
    ));
    assert!(matches!(
        files.write_file(&at("none/x"), b""),
        Err(GuestFsError::NotFound(_))
    ));
    assert!(matches!(
        files.mkdir(&at("a/it's\n/x")),
        Err(GuestFsError::NotADirectory(_))
    ));
    assert!(matches!(files.remove(&at("none")), Err(GuestFsError::NotFound(_))));
    assert!(matches!(files.remove(&mount), Err(GuestFsError::InvalidPath { .. })));
    assert!(matches!(files.list_dir("/etc"), Err(GuestFsError::InvalidPath { .. })));
    // A link that leads out is no way out.
    std::os::unix::fs::symlink(&outside, at("link")).unwrap();
    assert!(files.write_file(&at("link/x"), b"").is_err() && files.mkdir(&at("link/y")).is_err());
    assert!(std::fs::read_dir(&outside).unwrap().next().is_none());
    files.remove(&at("a")).unwrap();
    assert_eq!(files.list_dir(&mount).unwrap(), ["link", "project"]);
    session.shutdown(&mut vfs, "/project").unwrap();
}
