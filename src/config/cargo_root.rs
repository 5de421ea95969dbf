//! The one question to the disk beyond the config file: where the Cargo workspace is.

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
}
