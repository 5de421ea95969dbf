//! A plan as people read it.

use std::fmt;
use std::time::Duration;

use crate::quote::command_line;

use super::types::{Backend, HostAccess, Plan, Retries, SecretSource, Strategy, ToolPlan, WorkspaceMode, WriteBack};

impl Strategy {
    /// The word as it stands in the config and the events.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Overlay => "overlay",
            Self::Copy => "copy",
            Self::InPlace => "in_place",
        }
    }
}

impl WriteBack {
    /// The word as it stands in the config.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::OnSuccess => "on_success",
            Self::Always => "always",
            Self::Never => "never",
            Self::Drop => "drop",
        }
    }
}

impl WorkspaceMode {
    /// The word as it stands in the config.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Guest => "guest",
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.config_file {
            writeln!(f, "config        {}", file.display())?;
        }
        writeln!(f, "workspace     {}", self.workspace.display())?;
        writeln!(f, "backend       {} ({})", self.backend.name(), self.backend_why)?;
        if let Backend::Host(host) = &self.backend {
            writeln!(f, "strategy      {}", host.strategy.word())?;
            let network = if host.network { "yes" } else { "loopback only" };
            let outside = match host.host {
                HostAccess::ReadWrite => "writable".to_owned(),
                HostAccess::ReadOnly if host.writable.is_empty() => "read-only".to_owned(),
                HostAccess::ReadOnly => {
                    let writable: Vec<_> = host.writable.iter().map(|path| path.display().to_string()).collect();
                    format!("read-only but {}", writable.join(", "))
                }
            };
            let required = host.require.word();
            writeln!(
                f,
                "isolation     required: {required}; network: {network}; outside the workspace: {outside}"
            )?;
        } else {
            writeln!(f, "mode          {}", self.workspace_mode.word())?;
        }
        let write_back = match self.write_back {
            WriteBack::OnSuccess => "when every required tool succeeded",
            WriteBack::Always => "also after tool failures and timeouts",
            WriteBack::Never => "not at all: the result is kept aside",
            WriteBack::Drop => "not at all: the result is dropped",
        };
        writeln!(f, "write back    {} ({write_back})", self.write_back.word())?;
        if !self.ignore.is_empty() {
            writeln!(f, "ignored       {}", self.ignore.join(" "))?;
        }
        if !self.cache_dirs.is_empty() {
            writeln!(f, "cache folders {}", self.cache_dirs.join(" "))?;
        }
        writeln!(
            f,
            "limits        whole run: {}; backend ready: {}; waiting for another run: {}",
            limit(self.run_timeout),
            limit(self.ready_timeout),
            limit(self.lock_timeout)
        )?;
        let order = if self.fail_fast {
            "stop at it"
        } else {
            "go on, the first decides"
        };
        writeln!(f, "on failure    {order}")?;
        for (index, secret) in self.secrets.iter().enumerate() {
            let label = if index == 0 { "secrets" } else { "" };
            writeln!(f, "{label:<13} {}: {}", secret.name, secret.source)?;
        }
        writeln!(f, "places        cache {}", self.places.cache.display())?;
        writeln!(f, "              state {}", self.places.state.display())?;
        if !matches!(self.backend, Backend::Host(_)) {
            writeln!(f, "              staging {}", self.places.staging.display())?;
        }
        if self.tools.is_empty() {
            return writeln!(f, "tools         none");
        }
        writeln!(f, "tools")?;
        for (index, tool) in self.tools.iter().enumerate() {
            write_tool(f, index + 1, tool)?;
        }
        Ok(())
    }
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "the variable {name}"),
            Self::File(path) => write!(f, "the file {}", path.display()),
        }
    }
}

fn write_tool(f: &mut fmt::Formatter<'_>, number: usize, tool: &ToolPlan) -> fmt::Result {
    write!(f, "{number:>3}. {}", tool.name)?;
    if let Some(why) = &tool.left_out {
        return writeln!(f, "  left out: {why}");
    }
    writeln!(f)?;
    let argv = tool.argv.iter().map(|argument| argument.to_string_lossy());
    writeln!(f, "     run       {}", command_line(argv))?;
    if !tool.cwd.as_os_str().is_empty() {
        writeln!(f, "     cwd       {}", tool.cwd.display())?;
    }
    writeln!(
        f,
        "     timeout   {}; without output: {}; grace: {}",
        limit(tool.timeout),
        limit(tool.no_output_timeout),
        humantime::format_duration(tool.grace_period)
    )?;
    let when: Vec<String> = [
        tool.when.os.as_ref().map(|os| format!("the system is {os}")),
        tool.when.env.as_ref().map(|name| format!("{name} is set")),
        tool.when.exists.as_ref().map(|path| format!("{path} exists")),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !when.is_empty() {
        writeln!(f, "     when      {}", when.join(" and "))?;
    }
    // Names only: values may be secrets, and a plan is made to be shown.
    let names: Vec<&str> = tool.env.keys().map(String::as_str).collect();
    writeln!(
        f,
        "     sets      {}",
        if names.is_empty() {
            "nothing".into()
        } else {
            names.join(" ")
        }
    )?;
    let withheld = tool.withheld.iter().filter(|name| !tool.pass_env.contains(name));
    let withheld: Vec<&str> = withheld.map(String::as_str).collect();
    writeln!(
        f,
        "     passes    {}",
        match (tool.pass_env.as_slice(), withheld.as_slice()) {
            ([], _) => "nothing".into(),
            (passed, []) => passed.join(" "),
            (passed, withheld) => format!("{} but {}", passed.join(" "), withheld.join(" ")),
        }
    )?;
    if !tool.secrets.is_empty() {
        writeln!(f, "     secrets   {}", tool.secrets.join(" "))?;
    }
    let Retries {
        count,
        delay,
        exit_codes,
    } = &tool.retries;
    if *count > 0 {
        write!(f, "     retries   {count}")?;
        if !delay.is_zero() {
            write!(f, ", after {}", humantime::format_duration(*delay))?;
        }
        if !exit_codes.is_empty() {
            let codes: Vec<String> = exit_codes.iter().map(ToString::to_string).collect();
            write!(f, ", for exit code {}", codes.join(", "))?;
        }
        writeln!(f, "; each from the state before the failed attempt")?;
    }
    if tool.continue_on_error {
        writeln!(f, "     on error  go on; it does not decide")?;
    }
    Ok(())
}

fn limit(duration: Option<Duration>) -> String {
    duration.map_or_else(
        || "none".into(),
        |duration| humantime::format_duration(duration).to_string(),
    )
}
