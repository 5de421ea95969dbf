//! Which fields of a `guest_fs` request may be there, and which must.

use crate::sidecar::{Capabilities, Capability, FsOperation, GuestFs};

use super::refusal::Refusal;

/// Fields that belong to a capability, or are missing.
pub(super) fn check(agreed: Capabilities, operation: FsOperation, request: &GuestFs) -> Result<(), Refusal> {
    let needs = |wanted: Capability, fields: &[(&str, bool)]| match fields.iter().find(|(_, is_there)| *is_there) {
        Some((field, _)) if !agreed.has(wanted) => Err(Refusal::bad_request(format!(
            "the field `{field}` needs the capability {}",
            wanted.name()
        ))),
        _ => Ok(()),
    };
    needs(
        Capability::FsRaw,
        &[
            ("guest_path_base64", request.guest_path_base64.is_some()),
            ("raw", request.raw.is_some()),
            ("offset", request.offset.is_some()),
            ("length", request.length.is_some()),
            ("mode", request.mode.is_some()),
            ("mtime_s", request.mtime_s.is_some()),
            ("mtime_ns", request.mtime_ns.is_some()),
            ("after_base64", request.after_base64.is_some()),
            ("target", request.target.is_some()),
            ("target_base64", request.target_base64.is_some()),
        ],
    )?;
    needs(
        Capability::FsStat,
        &[("stat", request.stat.is_some()), ("after", request.after.is_some())],
    )?;
    let missing = |field: &str| Err(Refusal::bad_request(format!("the field `{field}` is missing")));
    let twice = |field: &str| {
        Err(Refusal::bad_request(format!(
            "`{field}` and `{field}_base64` are there both"
        )))
    };
    for (field, text, base64) in [
        ("guest_path", &request.guest_path, &request.guest_path_base64),
        ("after", &request.after, &request.after_base64),
        ("target", &request.target, &request.target_base64),
    ] {
        if text.is_some() && base64.is_some() {
            return twice(field);
        }
    }
    if request.guest_path.is_none() && request.guest_path_base64.is_none() {
        return missing("guest_path");
    }
    let is_raw = request.raw == Some(true);
    if operation == FsOperation::WriteFile && !is_raw && request.content_base64.is_none() {
        return missing("content_base64");
    }
    if operation == FsOperation::WriteFile && is_raw && request.content_base64.is_some() {
        return Err(Refusal::bad_request("`content_base64` and `raw` are there both"));
    }
    if operation == FsOperation::Symlink && request.target.is_none() && request.target_base64.is_none() {
        return missing("target");
    }
    if request.mode.is_some_and(|mode| mode > 0o7777) {
        return Err(Refusal::bad_request("`mode` has other than permission bits"));
    }
    if request.mtime_ns.is_some_and(|nanos| nanos > 999_999_999)
        || request.mtime_s.is_none() && request.mtime_ns.is_some()
    {
        return Err(Refusal::bad_request(
            "`mtime_ns` is no part of a second, or `mtime_s` is missing",
        ));
    }
    Ok(())
}
