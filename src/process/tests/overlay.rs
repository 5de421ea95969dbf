//! Overlays in a real keeper.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use super::*;

/// A workspace, and two layers with odd names: what mount(2) takes for separators.
struct Layers {
    place: tempfile::TempDir,
}

impl Layers {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        for folder in ["w,:\\x", "w,:\\x/cache", "up,0", "work:0", "up\\1", "work 1"] {
            fs::create_dir(place.path().join(folder)).unwrap();
        }
        fs::write(place.path().join("w,:\\x/file"), "real").unwrap();
        fs::write(place.path().join("w,:\\x/gone"), "").unwrap();
        Self { place }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().canonicalize().unwrap().join(name)
    }

    fn workspace(&self) -> PathBuf {
        self.path("w,:\\x")
    }

    fn overlay(&self, lowers: &[&str], upper: &str, work: &str) -> MountStep {
        MountStep::Overlay {
            name: "devshell-test".to_owned(),
            lowers: lowers.iter().map(|name| self.path(name)).collect(),
            upper: self.path(upper),
            work: self.path(work),
            onto: self.workspace(),
        }
    }

    fn keeper(&self, mut mounts: Vec<MountStep>) -> Keeper {
        mounts.push(MountStep::Bind {
            from: self.workspace().join("cache"),
            onto: self.workspace().join("cache"),
        });
        Keeper::start(&KeeperSpec {
            mounts,
            namespaces: Namespaces { mount: true, pid: true },
            ..KeeperSpec::default()
        })
        .unwrap()
    }

    fn ask(&self, keeper: &mut Keeper, script: &str) -> String {
        let asked = SpawnRequest {
            cwd: self.workspace(),
            ..sh(script)
        };
        let ran = run(keeper, &asked);
        assert_eq!(ran.exit, ToolExit::Success, "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap()
    }
}

fn is_whiteout(path: &Path) -> bool {
    path.symlink_metadata()
        .is_ok_and(|found| found.file_type().is_char_device())
}

#[test]
fn what_is_written_goes_to_the_upper_layer_and_a_further_one_lies_over_it() {
    let layers = Layers::new();
    let mut first = layers.keeper(vec![layers.overlay(&["w,:\\x"], "up,0", "work:0")]);
    let shown = layers.ask(
        &mut first,
        "cat file; rm gone; echo one >made; echo c >cache/x; grep -o devshell-test /proc/mounts",
    );
    assert_eq!(shown, "realdevshell-test\n");
    drop(first);
    assert_eq!(fs::read_to_string(layers.path("up,0/made")).unwrap(), "one\n");
    assert!(is_whiteout(&layers.path("up,0/gone")));
    assert_eq!(
        fs::read_to_string(layers.workspace().join("cache/x")).unwrap(),
        "c\n",
        "it shows through"
    );

    let mut second = layers.keeper(vec![layers.overlay(&["up,0", "w,:\\x"], "up\\1", "work 1")]);
    assert_eq!(
        layers.ask(&mut second, "ls; cat made; rm made; echo two >file"),
        "cache\nfile\nmade\none\n"
    );
    drop(second);
    assert!(is_whiteout(&layers.path("up\\1/made")));
    assert_eq!(fs::read_to_string(layers.path("up,0/made")).unwrap(), "one\n");
    assert_eq!(fs::read_to_string(layers.workspace().join("file")).unwrap(), "real");
}

#[test]
fn an_overlay_that_is_needed_and_refused_leaves_no_keeper() {
    let layers = Layers::new();
    let spec = |needs_mounts| KeeperSpec {
        // A layer that cannot be written: /proc holds none.
        mounts: vec![MountStep::Overlay {
            name: "devshell-test".to_owned(),
            lowers: vec![layers.workspace()],
            upper: "/proc/self".into(),
            work: "/proc/self".into(),
            onto: layers.workspace(),
        }],
        needs_mounts,
        namespaces: Namespaces { mount: true, pid: true },
        ..KeeperSpec::default()
    };
    match Keeper::start_best(&spec(true)) {
        Err(
            error @ KeeperError::Setup {
                stage: SetupStage::Overlay,
                ..
            },
        ) => {
            let told = error.in_full();
            assert!(
                told.starts_with("cannot mount an overlay over the workspace: "),
                "{told}"
            );
        }
        other => panic!("{other:?}"),
    }
    let (keeper, why) = Keeper::start_best(&spec(false)).unwrap();
    assert!(!keeper.isolation().mount && !why.is_empty());
}
