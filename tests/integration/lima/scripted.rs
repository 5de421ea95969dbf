//! A limactl of the tests' own. Its "guest" is this host, with the workspace's parent at its own
//! path.

use std::cell::Cell;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::support::{Project, Ran, devshell_vm};

pub struct Lima {
    pub project: Project,
}

const MOUNTED: &str = "[{\"location\":\"PARENT\",\"mountPoint\":\"PARENT\",\"writable\":true}]";

impl Lima {
    /// A project whose tools run in an instance with this status; none where it is empty.
    pub fn new(status: &str, more: &str) -> Self {
        let project = Project::named("project");
        let place = project.beside("lima");
        std::fs::create_dir_all(place.join("state")).unwrap();
        let limactl = place.join("limactl");
        std::fs::write(&limactl, include_str!("limactl.sh")).unwrap();
        std::fs::set_permissions(&limactl, PermissionsExt::from_mode(0o755)).unwrap();
        let parent = project.beside("shared");
        std::fs::create_dir(&parent).unwrap();
        let toml = format!(
            "[vm]\nbackend = \"lima\"\nworkspace_parent = \"{0}\"\nguest_workspace = \"{0}\"\n[vm.lima]\ninstance = \
             \"t\"\nlimactl = \"{1}\"\nagent = \"{2}\"\ncarry = \"{3}\"\n{more}",
            parent.display(),
            limactl.display(),
            AGENT.get(),
            CARRY.get()
        );
        project.write("devshell.toml", toml);
        let lima = Self { project };
        lima.has_agent();
        lima.put("mounts", &MOUNTED.replace("PARENT", &parent.to_string_lossy()));
        if !status.is_empty() {
            lima.put("status", status);
        }
        lima
    }

    pub fn running(more: &str) -> Self {
        Self::new("Running", more)
    }

    /// The guest has the agent already: to put it there costs a tenth of a second.
    fn has_agent(&self) {
        let folder = self.guest_cache();
        std::fs::create_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink(devshell_vm(), folder.join(agent_name())).unwrap();
    }

    /// Where the guest keeps what is devshell's.
    pub fn guest_cache(&self) -> PathBuf {
        self.project.beside("lima/cache/devshell")
    }

    fn state(&self, name: &str) -> PathBuf {
        self.project.beside("lima").join("state").join(name)
    }

    pub fn put(&self, name: &str, text: &str) {
        std::fs::write(self.state(name), text).unwrap();
    }

    pub fn get(&self, name: &str) -> String {
        std::fs::read_to_string(self.state(name))
            .unwrap_or_default()
            .trim()
            .to_owned()
    }

    /// As [`Self::new`], where one thing goes wrong.
    pub fn wrong(self, what: &str) -> Self {
        self.put(&format!("wrong-{what}"), "");
        self
    }

    pub fn run(&self) -> Ran {
        self.project.run()
    }
}

pub const TRUE: &str = "[[tool]]\nname = \"t\"\nrun = [\"true\"]\n";

pub fn script(script: &str) -> String {
    format!("[[tool]]\nname = \"t\"\nscript = '''{script}'''\n")
}

thread_local! {
    static AGENT: Cell<&'static str> = const { Cell::new("auto") };
    static CARRY: Cell<&'static str> = const { Cell::new("auto") };
}

/// What `vm.lima.agent` is in the configs of this thread.
pub fn set_agent(agent: &'static str) {
    AGENT.set(agent);
}

/// What `vm.lima.carry` is in the configs of this thread.
pub fn set_carry(carry: &'static str) {
    CARRY.set(carry);
}

/// What was set.
pub fn agent() -> &'static str {
    AGENT.get()
}

/// Whether the tree is carried into the guest: the instance mounts by 9p.
pub fn is_carried() -> bool {
    AGENT.get() != "off" && CARRY.get() != "mount"
}

/// What the agent of this build is called in a guest.
pub fn agent_name() -> String {
    static DIGEST: OnceLock<String> = OnceLock::new();
    let digest = DIGEST.get_or_init(|| {
        let bytes = std::fs::read(devshell_vm()).unwrap();
        blake3::hash(&bytes).to_hex().chars().take(32).collect()
    });
    format!("devshell-vm-{digest}")
}

/// Makes a test of each of these functions by the resident shell, by the agent with the tree in the mount, and by the
/// agent with the tree carried; of those behind `mount:` only where the tree goes by the mount.
macro_rules! in_each_way {
    ($($test:ident),* $(,)? $(; mount: $($of_mount:ident),* $(,)?)?) => {
        crate::lima::scripted::in_each_way!(by_shell, "off", "auto", $($test,)* $($($of_mount,)*)?);
        crate::lima::scripted::in_each_way!(by_agent, "auto", "mount", $($test,)* $($($of_mount,)*)?);
        crate::lima::scripted::in_each_way!(by_transfer, "auto", "auto", $($test,)*);
    };
    ($way:ident, $agent:literal, $carry:literal, $($test:ident,)*) => {
        mod $way {
            $(
                #[test]
                fn $test() {
                    crate::lima::scripted::set_agent($agent);
                    crate::lima::scripted::set_carry($carry);
                    super::$test();
                }
            )*
        }
    };
}
pub(super) use in_each_way;
