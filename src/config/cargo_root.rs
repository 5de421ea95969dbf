//! Where the Cargo workspace of a folder is, the one question to the disk beyond the config file.

use std::path::{Path, PathBuf};

use toml::de::DeTable;

/// Looks for the root of the Cargo workspace at or above a folder, on the disk: the nearest
/// folder whose `Cargo.toml` has `[workspace]`, else the nearest with a `Cargo.toml`.
pub(super) fn find_cargo_root_on_disk(folder: &Path) -> Option<PathBuf> {
    let mut nearest = None;
    for folder in folder.ancestors() {
        let Ok(text) = std::fs::read_to_string(folder.join("Cargo.toml")) else {
            continue;
        };
        let is_workspace = DeTable::parse(&text).is_ok_and(|manifest| manifest.get_ref().get("workspace").is_some());
        if is_workspace {
            return Some(folder.to_owned());
        }
        nearest.get_or_insert_with(|| folder.to_owned());
    }
    nearest
}

/// The root of the Cargo workspace above that the package in a folder belongs to, and whose `target/` it is built in.
pub(crate) fn cargo_workspace_above(package: &Path) -> Option<PathBuf> {
    let manifest = std::fs::read_to_string(package.join("Cargo.toml")).ok()?;
    if DeTable::parse(&manifest).ok()?.get_ref().contains_key("workspace") {
        return None;
    }
    for folder in package.ancestors().skip(1) {
        let Ok(text) = std::fs::read_to_string(folder.join("Cargo.toml")) else {
            continue;
        };
        let Ok(manifest) = DeTable::parse(&text) else { continue };
        if let Some(workspace) = manifest.get_ref().get("workspace") {
            let below = package.strip_prefix(folder).ok()?;
            let excluded = workspace
                .get_ref()
                .get("exclude")
                .and_then(|paths| paths.get_ref().as_array());
            let mut excluded = excluded.into_iter().flat_map(|paths| paths.iter());
            let is_out = excluded.any(|path| path.get_ref().as_str().is_some_and(|path| below.starts_with(path)));
            return (!is_out).then(|| folder.to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_workspace_above_wins_over_the_package_here() {
        let dir = tempfile::tempdir().unwrap();
        let package = dir.path().join("crates/a");
        fs::create_dir_all(&package).unwrap();
        assert_eq!(find_cargo_root_on_disk(&package), None);
        fs::write(package.join("Cargo.toml"), "[package]\nname = \"a\"\n").unwrap();
        assert_eq!(find_cargo_root_on_disk(&package), Some(package.clone()));
        fs::write(dir.path().join("Cargo.toml"), "[workspace]\nmembers = [\"crates/*\"]\n").unwrap();
        assert_eq!(find_cargo_root_on_disk(&package).as_deref(), Some(dir.path()));
    }

    #[test]
    fn a_package_belongs_to_the_workspace_above_unless_one_of_both_says_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        let package = dir.path().join("crates/a");
        fs::create_dir_all(&package).unwrap();
        let root = |text: &str| fs::write(dir.path().join("Cargo.toml"), text).unwrap();
        root("[workspace]\nmembers = [\"crates/*\"]\n");
        assert_eq!(cargo_workspace_above(&package), None, "no package");
        fs::write(package.join("Cargo.toml"), "[package]\nname = \"a\"\n").unwrap();
        assert_eq!(cargo_workspace_above(&package).as_deref(), Some(dir.path()));
        assert_eq!(cargo_workspace_above(dir.path()), None, "the root itself");
        root("[workspace]\nexclude = [\"crates/a\"]\n");
        assert_eq!(cargo_workspace_above(&package), None);
        root("[package]\nname = \"r\"\n");
        assert_eq!(cargo_workspace_above(&package), None);
        root("[workspace]\n");
        fs::write(package.join("Cargo.toml"), "[package]\nname = \"a\"\n[workspace]\n").unwrap();
        assert_eq!(cargo_workspace_above(&package), None);
    }
}
