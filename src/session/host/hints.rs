//! What an overlay cannot do, told after a tool has met it.

/// A limit, the texts by which programs tell of it, and what helps.
struct Limit {
    texts: &'static [&'static str],
    told: &'static str,
}

const RENAMED_FOLDER: Limit = Limit {
    texts: &["Invalid cross-device link", "cross-device link not permitted", "EXDEV"],
    told: "in an overlay, folders of the original tree cannot be renamed, only copied and removed",
};
const OTHERS_FILE: Limit = Limit {
    texts: &["Value too large for defined data type", "EOVERFLOW"],
    told: "in an overlay without root, files of another owner or group cannot be changed, only removed",
};

/// What the last lines of a failed tool's stderr mean in an overlay; `user` says that it needed a
/// user namespace.
pub(super) fn explain(stderr: &[u8], user: bool) -> Option<String> {
    let text = String::from_utf8_lossy(stderr);
    let met = |limit: &&Limit| limit.texts.iter().any(|part| text.contains(part));
    let limits = [Some(&RENAMED_FOLDER), user.then_some(&OTHERS_FILE)];
    let limit = limits.into_iter().flatten().find(met)?;
    Some(format!("{}; vm.host.strategy = \"copy\" has no such limit", limit.told))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_overlay_is_to_blame_for_is_explained() {
        let rename = b"fatal: renaming 'a' failed: Invalid cross-device link\n";
        assert!(explain(rename, false).is_some_and(|told| told.contains("renamed") && told.contains("copy")));
        let owner = b"cp: cannot create: Value too large for defined data type";
        assert!(explain(owner, true).is_some_and(|told| told.contains("owner")));
        assert_eq!(explain(owner, false), None);
        assert_eq!(explain(b"error: test failed", true), None);
    }
}
