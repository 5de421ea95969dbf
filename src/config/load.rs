//! From a request to the config: find, read, decode, merge, check.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use figment::Figment;
use figment::value::{Dict, Value};

use super::cargo_root::find_cargo_root_on_disk;
use super::check::contradictions;
use super::env::{self, Environment};
use super::error::ConfigError;
use super::fault::Fault;
use super::file;
use super::keypath::{Spelling, find_key, split};
use super::layer::{Layer, Reading, of_file, of_text};
use super::paths;
use super::schema::{list, nearest};
use super::source::{Holder, Origin, Place, Rank, SourceText};
use super::user;
use super::wire::Config;
use super::words::Require;

/// The full reference, which is the text that the defaults are read from.
pub const DEFAULTS: &str = include_str!("../../devshell.toml.example");

/// What to load.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The file, relative to `cwd`; none: `devshell.toml` there or in the nearest parent.
    pub file: Option<PathBuf>,
    /// Whether it is an error when no file was named and none is found.
    pub required: bool,
    /// The current folder; absolute.
    pub cwd: PathBuf,
    /// The environment.
    pub env: Vec<(OsString, OsString)>,
    /// Values of flags, weakest first.
    pub overrides: Vec<Override>,
    /// The value of `--profile`; stronger than `DEVSHELL_PROFILE`.
    pub profile: Option<String>,
}

/// A value that a flag gives a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// The flag, as messages name it: `--backend`, `--set vm.backend`.
    pub origin: String,
    /// The dotted key.
    pub key: String,
    /// The value as it was typed.
    pub value: String,
}

impl Override {
    /// A flag of its own for a key.
    pub fn flag(flag: impl Into<String>, key: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            origin: flag.into(),
            key: key.into(),
            value: value.into(),
        }
    }

    /// The argument of `--set`: `key.path=value`. `None` when it has no `=` or no key, which is
    /// a wrong command line.
    #[must_use]
    pub fn from_set(argument: &str) -> Option<Self> {
        // A quoted part of the key may hold the sign, too; the first that leaves a whole key counts.
        let (key, value) = argument
            .match_indices('=')
            .map(|(at, _)| (argument[..at].trim(), &argument[at + 1..]))
            .find(|(key, _)| split(key).is_some())
            .or_else(|| argument.split_once('=').filter(|(key, _)| !key.trim().is_empty()))?;
        Some(Self::flag(format!("--set {key}"), key, value))
    }

    /// What would be typed for it again; a value that looks like a secret is left out.
    #[must_use]
    pub fn typed(&self) -> Vec<String> {
        let is_table_of_variables = self.key == "env" || self.key.ends_with(".env");
        let value = if is_table_of_variables || super::secret::hides(&self.key, &self.value) {
            "..."
        } else {
            &self.value
        };
        match self.origin.strip_prefix("--set ") {
            Some(_) => vec!["--set".to_owned(), format!("{}={value}", self.key)],
            None => vec![self.origin.clone(), value.to_owned()],
        }
    }
}

/// A config, with where it came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// The file, absolute, if there was one.
    pub file: Option<PathBuf>,
    /// The user's file, absolute, if there was one.
    pub user_file: Option<PathBuf>,
    /// The folder of the file, else the current folder; absolute.
    pub folder: PathBuf,
    /// The profile that was chosen.
    pub profile: Option<String>,
    /// What the user should know: unknown names of variables, ...
    pub warnings: Vec<String>,
    /// Where each value came from.
    pub origins: Origins,
}

/// Where each value came from.
#[derive(Debug, Clone, Default)]
pub struct Origins(BTreeMap<String, Vec<Origin>>);

impl Origins {
    /// The values that a dotted key was given, weakest first: the last one holds, and shadows
    /// the others. Tools are named: `tool.NAME.key`.
    #[must_use]
    pub fn of(&self, key: &str) -> &[Origin] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// All keys that were given a value, in alphabetical order.
    pub fn keys(&self) -> impl Iterator<Item = (&str, &[Origin])> {
        self.0.iter().map(|(key, origins)| (key.as_str(), origins.as_slice()))
    }

    fn add(&mut self, layer: &Layer) {
        for (key, place, value) in &layer.origins {
            self.0.entry(key.clone()).or_default().push(Origin {
                rank: layer.rank,
                place: place.clone(),
                value: value.clone(),
            });
        }
    }
}

/// Loads the config.
///
/// # Errors
/// [`ConfigError`]: no file, an unreadable file, or all faults of the files, the environment and
/// the flags at once.
pub fn load(request: &Request) -> Result<Loaded, ConfigError> {
    let path = file::find(request.file.as_deref(), &request.cwd, request.required)?;
    let mut sources = Sources::default();
    match path.as_deref().map(|path| file::read(path, &request.cwd)).transpose() {
        Ok(text) => sources.file = text,
        // A file that is no text at all does not hide what is wrong elsewhere.
        Err(ConfigError::Invalid(faults)) => sources.faults = faults,
        Err(error) => return Err(error),
    }
    let set = |name| variable(request, name).map(OsString::as_os_str);
    let mut user = user::read(set("XDG_CONFIG_HOME"), set("HOME"), &request.cwd);
    user.faults.append(&mut sources.faults);
    sources.faults = user.faults;
    sources.warnings = user.warnings;
    sources.user = user.text;

    let (mut loaded, mut faults, whole) = assemble(sources, request)?;
    loaded.folder = match path.as_deref().and_then(Path::parent) {
        Some(folder) => folder.to_owned(),
        None => loaded.folder,
    };
    loaded.file = path;
    if whole {
        let faulty: Vec<String> = faults.iter().filter_map(|fault| fault.key.clone()).collect();
        let contradictions = contradictions(&loaded.config, &loaded.origins, |key| {
            faulty.iter().any(|bad| bad == key)
        });
        faults.extend(contradictions);
    }
    if faults.is_empty() {
        Ok(loaded)
    } else {
        Err(ConfigError::Invalid(faults))
    }
}

/// The defaults and what the environment says, without any file and without asking whether the
/// values go together.
pub(crate) fn defaults_and_environment(env: Vec<(OsString, OsString)>, cwd: PathBuf) -> Result<Loaded, ConfigError> {
    let request = Request {
        env,
        cwd,
        ..Request::default()
    };
    let (loaded, faults, _) = assemble(Sources::default(), &request)?;
    if faults.is_empty() {
        Ok(loaded)
    } else {
        Err(ConfigError::Invalid(faults))
    }
}

/// The texts of the files, and what was wrong with reading them.
#[derive(Default)]
struct Sources {
    user: Option<SourceText>,
    file: Option<SourceText>,
    faults: Vec<Fault>,
    warnings: Vec<String>,
}

/// Puts the layers together. Also tells whether the files were read to their ends.
fn assemble(sources: Sources, request: &Request) -> Result<(Loaded, Vec<Fault>, bool), ConfigError> {
    let folder = match &sources.file {
        Some(text) => text.base.clone(),
        None => request.cwd.clone(),
    };
    let Sources {
        user,
        file,
        mut faults,
        mut warnings,
    } = sources;
    let mut tools = Vec::new();
    let mut whole = faults.is_empty();

    let defaults = Arc::new(SourceText::new(Holder::Default, DEFAULTS, &folder));
    let defaults = of_file(&defaults, Rank::Default, None, &mut tools);
    faults.extend(defaults.faults);
    let mut layers = vec![defaults.base];

    let user = user.map(Arc::new);
    if let Some(text) = &user {
        let mut read = of_file(text, Rank::User, None, &mut tools);
        faults.append(&mut read.faults);
        whole &= read.whole;
        layers.push(read.base);
    }
    let profile = chosen_profile(request);
    let chosen = profile.as_ref().map(|(name, _)| name.as_str());
    let mut profiles = Vec::new();
    if let Some(text) = file {
        let mut read = of_file(&Arc::new(text), Rank::File, chosen, &mut tools);
        faults.append(&mut read.faults);
        whole &= read.whole;
        profiles = read.profiles;
        layers.push(read.base);
        layers.extend(read.profile);
    }
    if let Some((name, place)) = &profile
        && whole
        && !profiles.contains(name)
    {
        let near = nearest(name, profiles.iter().map(String::as_str)).map(|near| format!("did you mean `{near}`?"));
        let known = match profiles.as_slice() {
            [] => "the config has no profiles".to_owned(),
            profiles => format!("profiles: {}", list(profiles.iter().map(String::as_str))),
        };
        let message = format!("there is no profile `{name}`");
        faults.push(Fault::new(message, place.clone()).maybe_help(near).help(known));
    }

    let environment = env::read(&request.env, &request.cwd, &tools);
    environment_layers(environment, &folder, &mut layers, &mut faults, &mut warnings);
    for given in &request.overrides {
        match override_layer(given, &request.cwd, &tools) {
            Ok(layer) => layers.push(layer),
            // Of a file that could not be read the tools are not known.
            Err(_) if !whole && given.key.trim_start().starts_with("tool.") => {}
            Err(mut wrong) => faults.append(&mut wrong),
        }
    }

    let mut origins = Origins::default();
    for layer in &layers {
        origins.add(layer);
    }
    let mut config: Config = match merge(&layers).extract() {
        Ok(config) => config,
        Err(_) if !faults.is_empty() => return Err(ConfigError::Invalid(faults)),
        Err(error) => return Err(ConfigError::Merge(Box::new(error))),
    };
    paths::settle(&mut config, &origins, home(request).as_deref(), &mut faults);
    let user_file = user.and_then(|text| match &text.holder {
        Holder::File { path, .. } => Some(path.clone()),
        _ => None,
    });
    let loaded = Loaded {
        config,
        file: None,
        user_file,
        folder,
        profile: profile.map(|(name, _)| name),
        warnings,
        origins,
    };
    Ok((loaded, faults, whole))
}

fn merge(layers: &[Layer]) -> Figment {
    layers
        .iter()
        .fold(Figment::new(), |figment, layer| figment.merge(layer))
}

fn home(request: &Request) -> Option<PathBuf> {
    variable(request, "HOME").map(PathBuf::from)
}

/// A variable that is set and not empty.
fn variable<'a>(request: &'a Request, name: &str) -> Option<&'a OsString> {
    let found = request.env.iter().find(|(key, _)| key == name);
    found.map(|(_, value)| value).filter(|value| !value.is_empty())
}

/// The profile that is asked for, and where.
fn chosen_profile(request: &Request) -> Option<(String, Place)> {
    let (holder, name) = match &request.profile {
        Some(name) => (Holder::Flag("--profile".into()), name.clone()),
        None => (
            Holder::Variable(env::PROFILE.into()),
            variable(request, env::PROFILE)?.to_string_lossy().into_owned(),
        ),
    };
    let span = 0..name.len();
    let source = Arc::new(SourceText::new(holder, name.as_str(), &request.cwd));
    Some((name, Place { source, span }))
}

/// The layers of the environment, and those two switches that depend on more than themselves.
fn environment_layers(
    mut environment: Environment,
    folder: &Path,
    layers: &mut Vec<Layer>,
    faults: &mut Vec<Fault>,
    warnings: &mut Vec<String>,
) {
    faults.append(&mut environment.faults);
    warnings.append(&mut environment.warnings);
    if let Some(place) = environment.cargo_root {
        match find_cargo_root_on_disk(folder) {
            Some(root) => layers.push(switched("workspace", "root", &root.to_string_lossy(), place)),
            None => warnings.push(format!(
                "{} is on, and there is no Cargo.toml in {} or above it",
                place.source.holder,
                folder.display()
            )),
        }
    }
    layers.append(&mut environment.layers);
    if let Some(place) = environment.at_least_view {
        let require: Option<Require> = merge(layers).extract_inner("sandbox.require").ok();
        if require.is_none_or(|require| require < Require::View) {
            layers.push(switched("sandbox", "require", Require::View.word(), place));
        }
    }
}

/// The layer of a switch that stands for a value.
fn switched(table: &str, key: &str, value: &str, place: Place) -> Layer {
    let inner = Dict::from([(key.to_owned(), Value::from(value))]);
    Layer {
        rank: Rank::Environment,
        name: place.source.holder.to_string(),
        values: Dict::from([(table.to_owned(), Value::from(inner))]),
        origins: vec![(
            format!("{table}.{key}"),
            place,
            Some(toml::Value::from(value).to_string()),
        )],
    }
}

fn override_layer(given: &Override, cwd: &Path, tools: &[String]) -> Result<Layer, Vec<Fault>> {
    let source = |text: String| SourceText::new(Holder::Flag(given.origin.clone()), text, cwd);
    let wrong_key = |message: String, help: Vec<String>| {
        let place = Place {
            source: Arc::new(source(format!("{}={}", given.key, given.value))),
            span: 0..given.key.len(),
        };
        let mut fault = Fault::new(message, place);
        fault.help = help;
        vec![fault]
    };
    let Some(parts) = split(&given.key) else {
        let help = "write the names with dots between them: `vm.backend`".to_owned();
        return Err(wrong_key(format!("`{}` is no key", given.key), vec![help]));
    };
    match find_key(&parts, Spelling::Dotted, tools) {
        Ok(target) => of_text(source(given.value.clone()), Rank::CommandLine, &target, Reading::AsKey),
        Err(lost) => Err(wrong_key(lost.message, lost.help)),
    }
}
