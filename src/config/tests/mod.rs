//! Facts about loading as a whole.

mod faults;
mod layers;
mod origins;
mod reference;
mod samples;
mod secrets;
mod user;
mod variables;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::schema::{Kind, SECRET, TOOL, leaves};
use super::*;

/// A folder with a `devshell.toml`, and what is asked of it.
struct Project {
    dir: TempDir,
    request: Request,
}

impl Project {
    fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let request = Request {
            cwd: dir.path().to_owned(),
            required: true,
            ..Request::default()
        };
        Self { dir, request }
    }

    fn new(text: &str) -> Self {
        let project = Self::empty();
        fs::write(project.path("devshell.toml"), text).unwrap();
        project
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.request.env.push((name.into(), value.into()));
        self
    }

    fn set(mut self, argument: &str) -> Self {
        self.request.overrides.push(Override::from_set(argument).unwrap());
        self
    }

    fn profile(mut self, name: &str) -> Self {
        self.request.profile = Some(name.into());
        self
    }

    fn load(&self) -> Loaded {
        load(&self.request).unwrap_or_else(|error| panic!("{error}"))
    }

    fn faults(&self) -> String {
        load(&self.request).expect_err("faults").to_string()
    }
}

fn faults(text: &str) -> String {
    Project::new(text).faults()
}

fn config(text: &str) -> Config {
    Project::new(text).load().config
}
