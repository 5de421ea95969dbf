//! The text of a starter file.

use std::fmt::Write as _;

use super::Part;

/// The tool of the example that is written where nothing is recognised.
pub(super) const EXAMPLE: &str = "hello";

const HEAD: &str = "\
# What `devshell run` does here: it runs these tools, in order, on a private view of this folder,
# and brings the result back only if all of them succeed.
#
#   devshell plan     what a run would do
#   devshell run      do it
#   devshell config   every key that can be set, with its value
";

/// A line that names a file which is not there would be an error in the editor.
const NO_SCHEMA: &str = "\
#
# Editors with taplo or tombi (Even Better TOML) complete and check this file once it begins with
# the line `#:schema ./devshell.schema.json`, and `devshell schema > devshell.schema.json` has
# written that.
";

const HELLO: &str = "
# Nothing was recognised here, so this is an example: a program with its arguments, which no shell
# reads.
[[tool]]
name = \"hello\"
run = [\"echo\", \"Hello from devshell\"]
";

const MORE: &str = "
# A script instead of a program, and what else a tool may have:
#
# [[tool]]
# name = \"generate\"
# script = \"./generate.sh > generated.txt\"
# timeout = \"10m\"
# when = { exists = \"generate.sh\" }
";

/// Writes the file.
pub(super) fn render(parts: &[Part], schema: Option<&str>) -> String {
    let mut out = String::new();
    if let Some(schema) = schema {
        // Editors want it in the first line.
        _ = writeln!(out, "#:schema {schema}");
    }
    out.push_str(HEAD);
    if schema.is_none() {
        out.push_str(NO_SCHEMA);
    }
    caches(&mut out, parts);
    for part in parts {
        for tool in &part.tools {
            out.push('\n');
            if let Some(comment) = tool.comment {
                _ = writeln!(out, "# {comment}");
            }
            let run: Vec<String> = tool.run.iter().map(|arg| quoted(arg)).collect();
            _ = writeln!(
                out,
                "[[tool]]\nname = {}\nrun = [{}]",
                quoted(&tool.name),
                run.join(", ")
            );
        }
    }
    if parts.is_empty() {
        out.push_str(HELLO);
    }
    out.push_str(MORE);
    out
}

fn caches(out: &mut String, parts: &[Part]) {
    let caches: Vec<_> = parts.iter().flat_map(|part| &part.caches).collect();
    if caches.is_empty() {
        return;
    }
    out.push_str(
        "
[workspace]
# Used from run to run and not carried back and forth, and so outside of all-or-nothing: what a
# failed run has put there stays, and need not be made again.
",
    );
    if let [cache] = caches.as_slice() {
        _ = writeln!(out, "cache_dirs = [{}]  # {}", quoted(cache.pattern), cache.holds);
        return;
    }
    out.push_str("cache_dirs = [\n");
    for cache in caches {
        let pattern = format!("{},", quoted(cache.pattern));
        _ = writeln!(out, "    {pattern:<20} # {}", cache.holds);
    }
    out.push_str("]\n");
}

/// A string as TOML writes it.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}
