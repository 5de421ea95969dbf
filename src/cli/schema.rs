//! `devshell schema`.

use super::end::{CliError, answer};

pub(super) fn schema() -> Result<u8, CliError> {
    answer(&format!("{:#}\n", crate::config::schema()))
}
