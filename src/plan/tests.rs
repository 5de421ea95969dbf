//! Facts about plans.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::config::{self, Loaded, Override, Request};
use crate::exit::End;

/// A workspace at `w` beside a home folder at `home`.
struct Project {
    dir: TempDir,
    env: Vec<(OsString, OsString)>,
    overrides: Vec<Override>,
    cwd: PathBuf,
}

impl Project {
    fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cwd = dir.path().join("w");
        fs::create_dir(&cwd).unwrap();
        fs::create_dir(dir.path().join("home")).unwrap();
        fs::write(cwd.join("devshell.toml"), text).unwrap();
        let home = dir.path().join("home").into_os_string();
        Self {
            dir,
            env: vec![("HOME".into(), home)],
            overrides: Vec::new(),
            cwd,
        }
    }

    fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    fn set(mut self, argument: &str) -> Self {
        self.overrides.push(Override::from_set(argument).unwrap());
        self
    }

    fn loaded(&self) -> Loaded {
        let request = Request {
            cwd: self.cwd.clone(),
            env: self.env.clone(),
            overrides: self.overrides.clone(),
            required: true,
            ..Request::default()
        };
        config::load(&request).unwrap_or_else(|error| panic!("{error}"))
    }

    fn try_plan(&self, selection: &Selection) -> Result<Plan, PlanError> {
        let loaded = self.loaded();
        let facts = Facts::gather(&loaded, &self.cwd, &self.env)?;
        resolve(&loaded, &facts, selection)
    }

    fn plan(&self) -> Plan {
        self.try_plan(&Selection::default())
            .unwrap_or_else(|error| panic!("{error}"))
    }

    fn refusal(&self) -> PlanError {
        self.try_plan(&Selection::default()).unwrap_err()
    }
}

const THREE: &str = "[[tool]]\nname = \"a\"\nrun = [\"a\"]\n[[tool]]\nname = \"b\"\nrun = [\"b\"]\n[[tool]]\nname = \"c\"\nrun = [\"c\"]\n";

#[test]
fn zero_is_no_limit_and_tools_inherit() {
    let plan = Project::new(
        "[vm]\nexec_timeout = \"5m\"\n[run]\ngrace_period = \"3s\"\n[[tool]]\nrun = [\"a\"]\n[[tool]]\nrun = [\"b\"]\ntimeout = \"0s\"\ngrace_period = \"1s\"\n",
    )
    .plan();
    assert_eq!((plan.run_timeout, plan.lock_timeout), (None, None));
    assert_eq!(plan.ready_timeout, Some(Duration::from_secs(600)));
    let times: Vec<_> = plan
        .tools
        .iter()
        .map(|tool| (tool.timeout, tool.grace_period.as_secs()))
        .collect();
    assert_eq!(times, [(Some(Duration::from_secs(300)), 3), (None, 1)]);
}

#[test]
fn a_script_is_the_last_argument_of_its_shell() {
    let plan =
        Project::new("[[tool]]\nscript = \"x y\"\n[[tool]]\nscript = \"z\"\nshell = [\"bash\", \"-c\"]\n").plan();
    assert_eq!(plan.tools[0].argv, ["sh", "-e", "-c", "x y"]);
    assert_eq!(plan.tools[1].argv, ["bash", "-c", "z"]);
}

#[test]
fn folders_of_tools_are_normal() {
    let plan =
        Project::new("[[tool]]\nrun = [\"a\"]\ncwd = \"./crates//a/../b/\"\nwhen = { exists = \"./x/\" }\n").plan();
    assert_eq!(plan.tools[0].cwd, Path::new("crates/b"));
    assert_eq!(plan.tools[0].when.exists.as_deref(), Some("x"));
}

#[test]
fn a_tools_variables_win_over_those_of_all_tools() {
    let text = "[env]\nA = \"1\"\nB = \"1\"\n[[tool]]\nrun = [\"a\"]\nenv = { B = \"2\" }\n";
    let plan = Project::new(text).plan();
    let env: Vec<_> = plan.tools[0]
        .env
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(env, ["A=1", "B=2", "GIT_OPTIONAL_LOCKS=0"]);
}

#[test]
fn git_takes_no_optional_locks_unless_told_otherwise() {
    let locks = |project: Project| project.plan().tools[0].env.get("GIT_OPTIONAL_LOCKS").cloned();
    let text = "[[tool]]\nrun = [\"a\"]\n";
    assert_eq!(locks(Project::new(text)).as_deref(), Some("0"));
    assert_eq!(locks(Project::new(text).env("GIT_OPTIONAL_LOCKS", "1")), None);
    let kept_out = Project::new(text)
        .env("GIT_OPTIONAL_LOCKS", "1")
        .set("sandbox.pass_env=[\"PATH\"]");
    assert_eq!(locks(kept_out).as_deref(), Some("0"));
    assert_eq!(
        locks(Project::new(text).set("env.GIT_OPTIONAL_LOCKS=1")).as_deref(),
        Some("1")
    );
}

#[test]
fn the_environment_of_a_tool_is_what_passes_with_its_own_over_it() {
    let plan = Project::new(
        "[sandbox]\npass_env = [\"CARGO_*\", \"HOME\"]\n[[tool]]\nrun = [\"a\"]\nenv = { HOME = \"/h\" }\n",
    )
    .plan();
    let caller: Vec<(OsString, OsString)> = [
        ("CARGO_HOME", "/c"),
        ("SECRET", "x"),
        ("HOME", "/other"),
        ("CARGO_HOME", "/late"),
    ]
    .map(|(name, value)| (name.into(), value.into()))
    .to_vec();
    let mut env = tool_environment(&plan.tools[0], &caller);
    env.sort();
    let env: Vec<String> = env
        .iter()
        .map(|(name, value)| format!("{}={}", name.display(), value.display()))
        .collect();
    assert_eq!(
        env,
        [
            "CARGO_HOME=/c",
            "GIT_OPTIONAL_LOCKS=0",
            "HOME=/h",
            &format!("PATH={DEFAULT_PATH}")
        ]
    );
}

#[test]
fn what_holds_a_secret_reaches_no_tool_unless_it_is_named() {
    let text = "[secrets]\nTOKEN = { env = \"CI_TOKEN\" }\n[[tool]]\nrun = [\"a\"]\n";
    let caller: Vec<(OsString, OsString)> = ["CI_TOKEN", "TOKEN", "CI_OTHER"]
        .map(|name| (name.into(), "x".into()))
        .to_vec();
    let passed = |project: Project| {
        let env = tool_environment(&project.plan().tools[0], &caller);
        let names = env.into_iter().filter_map(|(name, _)| name.into_string().ok());
        names
            .filter(|name| !["PATH", "GIT_OPTIONAL_LOCKS"].contains(&name.as_str()))
            .collect::<Vec<_>>()
    };
    assert_eq!(passed(Project::new(text)), ["CI_OTHER"]);
    let by_pattern = Project::new(text).set("sandbox.pass_env=[\"CI_*\", \"TOKE*\"]");
    assert_eq!(passed(by_pattern), ["CI_OTHER"]);
    let by_name = Project::new(text).set("sandbox.pass_env=[\"CI_TOKEN\"]");
    assert_eq!(passed(by_name), ["CI_TOKEN"]);
}

#[test]
fn secrets_go_to_their_tools_and_only_their_places_are_in_the_plan() {
    let text = "[secrets]\nA = { env = \"CI_A\" }\nB = { file = \"b\", tools = [\"two\"] }\nC = { env = \"C\", tools = [] }\n\
                [[tool]]\nname = \"one\"\nrun = [\"a\"]\n[[tool]]\nname = \"two\"\nrun = [\"a\"]\n";
    let project = Project::new(text).env("CI_A", "hunter22").env("C", "hunter22");
    fs::write(project.cwd.join("b"), "hunter22").unwrap();
    let plan = project.plan();
    assert_eq!(plan.tools[0].secrets, ["A"]);
    assert_eq!(plan.tools[1].secrets, ["A", "B"]);
    assert_eq!(plan.secrets[0].source, SecretSource::Env("CI_A".to_owned()));
    assert_eq!(plan.secrets[1].source, SecretSource::File(project.cwd.join("b")));
    assert!(
        plan.secrets[1].origin.ends_with("devshell.toml:3:14"),
        "{}",
        plan.secrets[1].origin
    );
    let shown = plan.to_string();
    let file = project.cwd.join("b");
    assert!(
        shown.contains(&format!(
            "secrets       A: the variable CI_A\n              B: the file {}\n              C: the variable C\n",
            file.display()
        )),
        "{shown}"
    );
    assert!(
        shown.contains("     passes    * but A CI_A B C\n     secrets   A B\n"),
        "{shown}"
    );
    assert!(!format!("{shown}{plan:?}").contains("hunter22"), "{shown}");

    let loaded = project.loaded();
    let facts = Facts::gather(&loaded, &project.cwd, &project.env).unwrap();
    let exec = resolve_exec(&loaded, &facts, vec!["two".into()]).unwrap();
    assert_eq!(
        exec.tools[0].secrets,
        ["A"],
        "a program is no tool of the list, whatever its name"
    );
}

#[test]
fn the_backend_says_why() {
    let why = |project: Project| {
        let plan = project.plan();
        format!("{}: {}", plan.backend.name(), plan.backend_why)
    };
    assert_eq!(why(Project::new("")), "host: vm.backend = \"auto\", default");
    assert_eq!(
        why(Project::new("[vm]\nbackend = \"lima\"\n")),
        "lima: vm.backend = \"lima\", devshell.toml:2:11"
    );
    let off = Project::new("[vm]\nbackend = \"lima\"\n").env("DEVSHELL_VM", "off");
    assert_eq!(why(off), "host: vm.enabled = false, DEVSHELL_VM");
}

#[test]
fn places_lie_below_the_home_or_the_export_base() {
    let project = Project::new("");
    let places = project.plan().places;
    let home = project.dir.path().join("home").canonicalize().unwrap();
    assert_eq!(places.cache, home.join(".cache/devshell").join(&places.key));
    assert_eq!(places.state, home.join(".local/state/devshell").join(&places.key));
    assert_eq!(places.staging, home.join(".cache/devshell/staging").join(&places.key));

    let project = Project::new("[vm]\nworkspace_parent = \"/srv/none\"\n").env("DEVSHELL_EXPORT_BASE", "/none");
    let places = project.plan().places;
    assert_eq!(places.cache, PathBuf::from("/none").join(&places.key));
    assert_eq!(places.staging, PathBuf::from("/srv/none").join(&places.key));
}

#[test]
fn two_ways_to_one_workspace_have_one_key() {
    let project = Project::new("");
    let mut linked = Project::new("");
    std::os::unix::fs::symlink(&project.cwd, linked.dir.path().join("link")).unwrap();
    linked.cwd = linked.dir.path().join("link");
    assert_eq!(linked.plan().places.key, project.plan().places.key);
}

#[test]
fn a_workspace_that_contains_the_places_is_refused_for_a_copy_alone() {
    let home = |name: &str| {
        Project::new("")
            .set("workspace.root=..")
            .env("XDG_STATE_HOME", format!("/none-{name}"))
    };
    let copy = "vm.host.strategy=copy";
    let error = home("a").set(copy).refusal();
    assert_eq!(error.end(), End::ConfigInvalid);
    assert!(error.to_string().contains("own cache folder"), "{error}");
    assert!(
        error.to_string().contains("DEVSHELL_EXPORT_BASE or XDG_CACHE_HOME"),
        "{error}"
    );
    let error = Project::new("")
        .set("workspace.root=..")
        .env("DEVSHELL_EXPORT_BASE", "/none")
        .set(copy)
        .refusal();
    assert!(
        error.to_string().contains("own state folder") && error.to_string().contains("XDG_STATE_HOME"),
        "{error}"
    );
    home("b").set("vm.host.strategy=in_place").plan();
    home("c").set(copy).env("DEVSHELL_EXPORT_BASE", "/none").plan();
    // Where the overlay that hides them is not to be had, the same words say why there is no copy.
    let Backend::Host(host) = home("d").plan().backend else {
        panic!("no host");
    };
    assert!(host.no_copy.is_some_and(|why| why.contains("own cache folder")));
}

#[test]
fn a_link_does_not_hide_that_the_places_are_inside() {
    let project = Project::new("");
    std::os::unix::fs::symlink(&project.cwd, project.dir.path().join("link")).unwrap();
    let link = project.dir.path().join("link/cache");
    let project = project.set("vm.host.strategy=copy");
    let error = project.env("DEVSHELL_EXPORT_BASE", link).refusal();
    assert!(matches!(error, PlanError::ContainsPlaces { .. }), "{error}");
}

#[test]
fn the_root_folder_is_no_workspace() {
    let error = Project::new("").set("workspace.root=/").refusal();
    assert!(matches!(error, PlanError::RootWorkspace { .. }), "{error}");
    for folder in ["/dev", "/proc/self", "/sys"] {
        let of_the_kernel = Project::new("").set(&format!("workspace.root={folder}"));
        let error = of_the_kernel.refusal();
        assert!(error.to_string().contains("choose a project's folder"), "{error}");
    }
    assert!(error.to_string().contains("--set workspace.root"), "{error}");
}

#[test]
fn a_workspace_that_is_not_there_is_refused() {
    let error = Project::new("[workspace]\nroot = \"gone\"\n").refusal();
    assert!(matches!(error, PlanError::Workspace { .. }), "{error}");
    assert!(error.to_string().contains("devshell.toml:2:8"), "{error}");
    let error = Project::new("[workspace]\nroot = \"devshell.toml\"\n").refusal();
    assert!(matches!(error, PlanError::Workspace { .. }), "{error}");
}

#[test]
fn only_and_from_leave_tools_out_and_say_so() {
    let left_out = |only: &[&str], from: Option<&str>| -> Vec<Option<String>> {
        let selection = Selection {
            only: only.iter().map(|name| (*name).to_owned()).collect(),
            from: from.map(str::to_owned),
            keep_going: false,
        };
        let plan = Project::new(THREE).try_plan(&selection).unwrap();
        plan.tools.into_iter().map(|tool| tool.left_out).collect()
    };
    assert_eq!(left_out(&[], None), [None, None, None]);
    assert_eq!(left_out(&["c", "a"], None), [None, Some("not in --only".into()), None]);
    assert_eq!(left_out(&[], Some("b")), [Some("before --from b".into()), None, None]);
    assert_eq!(left_out(&["c"], Some("b"))[2], None);
}

#[test]
fn an_unknown_tool_is_a_wrong_command_line() {
    let text = "[[tool]]\nname = \"clippy\"\nrun = [\"a\"]\n[[tool]]\nname = \"test\"\nrun = [\"b\"]\n";
    let of = |selection: Selection| Project::new(text).try_plan(&selection).unwrap_err();
    let error = of(Selection {
        only: vec!["test".into(), "clipy".into()],
        ..Selection::default()
    });
    assert_eq!(
        error.to_string(),
        "--only: there is no tool `clipy`; did you mean `clippy`?"
    );
    assert_eq!(error.end(), End::Usage);
    let error = of(Selection {
        from: Some("deploy".into()),
        ..Selection::default()
    });
    assert_eq!(
        error.to_string(),
        "--from: there is no tool `deploy`; tools: clippy, test"
    );
}

#[test]
fn keep_going_and_the_key_both_go_on() {
    let keep_going = Selection {
        keep_going: true,
        ..Selection::default()
    };
    assert!(Project::new(THREE).plan().fail_fast);
    assert!(!Project::new(THREE).try_plan(&keep_going).unwrap().fail_fast);
    assert!(!Project::new("[run]\nfail_fast = false\n").plan().fail_fast);
}

#[test]
fn a_plan_without_tools_can_be_looked_at_and_not_run() {
    let plan = Project::new("").plan();
    let error = require_tools(&plan).unwrap_err();
    assert_eq!(error.end(), End::ConfigInvalid);
    assert!(plan.to_string().ends_with("tools         none\n"));
    require_tools(&Project::new(THREE).plan()).unwrap();
}

#[test]
fn exec_runs_in_the_callers_folder_inside_the_workspace() {
    let project = Project::new("[vm]\nexec_timeout = \"1m\"\n[env]\nA = \"1\"\n");
    let loaded = project.loaded();
    let exec = |cwd: &str| {
        let cwd = project.dir.path().join(cwd);
        fs::create_dir_all(&cwd).unwrap();
        let facts = Facts::gather(&loaded, &cwd, &project.env).unwrap();
        let plan = resolve_exec(&loaded, &facts, vec!["/bin/echo".into(), "x".into()]).unwrap();
        plan.tools.into_iter().next().unwrap()
    };
    let tool = exec("w/crates/a");
    assert_eq!(
        (tool.name.as_str(), tool.cwd.as_path()),
        ("echo", Path::new("crates/a"))
    );
    assert_eq!(tool.timeout, Some(Duration::from_secs(60)));
    assert_eq!(tool.env["A"], "1");
    assert_eq!(exec("elsewhere").cwd, Path::new(""));
    assert_eq!(exec("w").cwd, Path::new(""));
}

#[test]
fn a_plan_is_shown_with_names_of_variables_only() {
    let text = r#"
[vm.host]
strategy = "copy"
[workspace]
cache_dirs = ["target/"]
[env]
TOKEN = "hush"
[[tool]]
run = ["cargo", "test", "--", "a b"]
timeout = "15m"
when = { os = "linux", exists = "Cargo.toml" }
[[tool]]
name = "lint"
script = "cargo clippy\ncargo fmt"
cwd = "crates/a"
continue_on_error = true
retries = 2
"#;
    let project = Project::new(text);
    let selection = Selection {
        only: vec!["lint".into(), "cargo".into()],
        ..Selection::default()
    };
    let plan = project.try_plan(&selection).unwrap();
    let root = project.dir.path().canonicalize().unwrap();
    let shown = plan
        .to_string()
        .replace(root.to_str().unwrap(), "/ROOT")
        .replace(project.dir.path().to_str().unwrap(), "/ROOT");
    let shown = shown.replace(&plan.places.key, "KEY");
    assert!(!shown.contains("hush"), "{shown}");
    insta::assert_snapshot!(shown, @r#"
    config        /ROOT/w/devshell.toml
    workspace     /ROOT/w
    backend       host (vm.backend = "auto", default)
    strategy      copy
    isolation     required: none; network: yes; outside the workspace: writable
    write back    on_success (when every required tool succeeded)
    cache folders target/
    limits        whole run: none; backend ready: 10m; waiting for another run: none
    on failure    stop at it
    places        cache /ROOT/home/.cache/devshell/KEY
                  state /ROOT/home/.local/state/devshell/KEY
    tools
      1. cargo
         run       cargo test -- 'a b'
         timeout   15m; without output: none; grace: 10s
         when      the system is linux and Cargo.toml exists
         sets      GIT_OPTIONAL_LOCKS TOKEN
         passes    *
      2. lint
         run       sh -e -c $'cargo clippy\ncargo fmt'
         cwd       crates/a
         timeout   none; without output: none; grace: 10s
         sets      GIT_OPTIONAL_LOCKS TOKEN
         passes    *
         retries   2; each from the state before the failed attempt
         on error  go on; it does not decide
    "#);
}

#[test]
fn what_only_the_host_backend_shuts_off_is_told_of_with_another() {
    let shut = |backend: &str, set: &[&str]| {
        let text = "[vm.beta]\nsocket = \"stdio\"\ncommand = [\"x\"]\n[[tool]]\nrun = [\"a\"]\n";
        let project = Project::new(text).set(&format!("vm.backend={backend}"));
        let project = set.iter().fold(project, |project, set| project.set(set));
        project.plan().warnings.join("\n")
    };
    let (network, host) = ("sandbox.network=false", "sandbox.host=ro");
    assert_eq!(shut("host", &[network, host]), "");
    assert_eq!(shut("beta", &[]), "");
    let told = shut("beta", &[network, host]);
    assert!(
        told.starts_with(
            "sandbox.network = false and sandbox.host = \"ro\" hold on the host backend only: with `beta`"
        ),
        "{told}"
    );
    assert_eq!(shut("lima", &[host]), "", "a guest is not this host");
    let told = shut("lima", &[network]);
    assert!(told.starts_with("sandbox.network = false holds on"), "{told}");
}
