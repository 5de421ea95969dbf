//! Relative paths belong to the folder of the file that wrote them.

use std::path::{Path, PathBuf};

use super::decode::join;
use super::fault::Fault;
use super::load::Origins;
use super::wire::{Agent, Config};

/// Makes the paths of this host absolute.
pub(super) fn settle(config: &mut Config, origins: &Origins, home: Option<&Path>, faults: &mut Vec<Fault>) {
    let mut settler = Settler { origins, home, faults };
    settler.path("workspace.root", &mut config.workspace.root);
    for path in &mut config.sandbox.writable {
        settler.path("sandbox.writable", path);
    }
    for (name, secret) in &mut config.secrets {
        if let Some(path) = &mut secret.file {
            settler.path(&format!("{}.file", join("secrets", name)), path);
        }
    }
    let vm = &mut config.vm;
    for (key, path) in [
        ("vm.workspace_parent", &mut vm.workspace_parent),
        ("vm.beta.token_file", &mut vm.beta.token_file),
        ("vm.remote.header_file", &mut vm.remote.header_file),
    ] {
        if let Some(path) = path {
            settler.path(key, path);
        }
    }
    if vm.lima.limactl.as_os_str().as_encoded_bytes().contains(&b'/') {
        settler.path("vm.lima.limactl", &mut vm.lima.limactl);
    }
    if let Agent::Path(path) = &mut vm.lima.agent {
        settler.path("vm.lima.agent", path);
    }
    if let Some(template) = &mut vm.lima.template
        && is_file(template)
    {
        settler.text("vm.lima.template", template);
    }
    if let Some(program) = vm.beta.command.as_mut().and_then(|argv| argv.first_mut())
        && program.contains('/')
    {
        settler.text("vm.beta.command", program);
    }
    if let Some(socket) = &mut vm.beta.socket
        && socket != "stdio"
        && !socket.starts_with("tcp:")
    {
        let mut path = socket.strip_prefix("unix:").unwrap_or(socket).to_owned();
        settler.text("vm.beta.socket", &mut path);
        *socket = format!("unix:{path}");
    }
}

/// Whether a template is a file of this host, not a name of Lima's nor a URL.
fn is_file(template: &str) -> bool {
    let scheme = template.split('/').next().is_some_and(|head| head.contains(':'));
    !scheme && (template.contains('/') || template.ends_with(".yaml") || template.ends_with(".yml"))
}

struct Settler<'a> {
    origins: &'a Origins,
    home: Option<&'a Path>,
    faults: &'a mut Vec<Fault>,
}

impl Settler<'_> {
    fn path(&mut self, key: &str, path: &mut PathBuf) {
        let Some(origin) = self.origins.of(key).last() else {
            return;
        };
        let from_home = path.strip_prefix("~").map(Path::to_owned);
        let joined = match (from_home, self.home) {
            (Ok(rest), Some(home)) => home.join(rest),
            (Ok(_), None) => {
                let message = format!("`{key}` starts with `~`, and HOME is not set");
                self.faults.push(Fault::new(message, origin.place.clone()).of(key));
                return;
            }
            (Err(_), _) => origin.place.source.base.join(&path),
        };
        // Without `.`; `..` stays, since what it leaves may be a symlink.
        *path = joined.components().collect();
    }

    fn text(&mut self, key: &str, text: &mut String) {
        let mut path = PathBuf::from(&*text);
        self.path(key, &mut path);
        match path.into_os_string().into_string() {
            Ok(path) => *text = path,
            Err(path) => {
                if let Some(origin) = self.origins.of(key).last() {
                    let message = format!("`{key}` leads to a path that is not UTF-8: {}", path.to_string_lossy());
                    self.faults.push(Fault::new(message, origin.place.clone()).of(key));
                }
            }
        }
    }
}
