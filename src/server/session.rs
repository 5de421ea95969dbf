//! The one session of a connection: its folder, and the keepers that its tools run in.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::process::{Keeper, KeeperError, KeeperSpec, MountStep, Namespaces};
use crate::sidecar::{ErrorCode, SessionStart};

use super::own_folder::OwnFolder;
use super::paths::{Below, Mount};
use super::refusal::Refusal;
use super::staging::{Roots, Staging};

/// How many keepers wait for the next exec.
const SPARE: usize = 2;

/// What `session_start` began.
#[derive(Debug)]
pub(super) struct Session {
    id: String,
    mount: Mount,
    staging: Staging,
    place: Place,
    spare: Mutex<Vec<Keeper>>,
    /// Where the folder is the server's own choice. Last: it is let go when no keeper has it any more.
    own: Option<OwnFolder>,
}

/// What tools see, and what holds for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Where tools find the staging folder.
    root: PathBuf,
    /// A keeper has to mount it there.
    needs_mount: bool,
    /// Tools find it at the guest's name.
    pub(super) mounted: bool,
    /// Nothing that a tool starts can outlive it.
    pub(super) contained: bool,
    /// Why one of them is not so.
    pub(super) why: Vec<String>,
}

impl Session {
    /// Opens the folder and finds out what tools can be given, by a first keeper that waits for
    /// the first exec.
    pub(super) fn start(request: &SessionStart, roots: &Roots) -> Result<Self, Refusal> {
        let mount = Mount::new(request.guest_workspace.as_bytes()).map_err(|why| {
            Refusal::bad_request(format!(
                "guest_workspace `{}` cannot be used: {why}",
                request.guest_workspace
            ))
        })?;
        let (staging, own) = match &request.transfer {
            None => (roots.staging(&request.staging_dir)?, None),
            Some(_) if !request.staging_dir.is_empty() => {
                return Err(Refusal::bad_request(
                    "with `transfer` the folder is the server's own choice: staging_dir has to be empty",
                ));
            }
            Some(wanted) => {
                let (staging, own) = roots.own_folder(wanted)?;
                (staging, Some(own))
            }
        };
        let (place, keeper) = find_place(&mount.path(), &staging);
        Ok(Self {
            id: request.session_id.clone(),
            mount,
            staging,
            place,
            spare: Mutex::new(keeper.into_iter().collect()),
            own,
        })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Where the folder is the server's own choice.
    pub(super) fn own_folder(&self) -> Option<&OwnFolder> {
        self.own.as_ref()
    }

    pub(super) fn staging(&self) -> &Staging {
        &self.staging
    }

    /// A guest path below the mount.
    ///
    /// # Errors
    /// Why it is none, in words.
    pub(super) fn below(&self, path: &[u8]) -> Result<Below, &'static str> {
        self.mount.below(path)
    }

    /// Where tools find the staging folder.
    pub(super) fn tools_root(&self) -> &Path {
        &self.place.root
    }

    /// A keeper in which nothing runs.
    pub(super) fn keeper(&self) -> Result<Keeper, Refusal> {
        if let Some(keeper) = self.spare().pop() {
            return Ok(keeper);
        }
        let mount = self
            .place
            .needs_mount
            .then(|| (self.staging.path(), self.place.root.as_path()));
        start_keeper(mount).map(|(keeper, _)| keeper).map_err(|error| {
            Refusal::new(
                ErrorCode::ExecSpawn,
                format!("no process can be started here: {}", error.in_full()),
            )
        })
    }

    /// Takes back one whose tool has ended.
    pub(super) fn give_back(&self, keeper: Keeper) {
        let mut spare = self.spare();
        if spare.len() < SPARE {
            spare.push(keeper);
        }
    }

    fn spare(&self) -> std::sync::MutexGuard<'_, Vec<Keeper>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.staging.as_fd()
    }
}

/// What tools can be given, with the keeper that shows it; none where not even a plain one can be had.
fn find_place(guest: &Path, staging: &Staging) -> (Place, Option<Keeper>) {
    let mut why = Vec::new();
    let mut place = Place {
        root: staging.path().to_owned(),
        needs_mount: false,
        mounted: staging.is_at(guest),
        contained: false,
        why: Vec::new(),
    };
    if place.mounted {
        guest.clone_into(&mut place.root);
    } else {
        match mount_at(guest, staging) {
            Ok((keeper, less)) => {
                place.root = guest.to_owned();
                (place.needs_mount, place.mounted) = (true, true);
                place.contained = keeper.isolation().processes;
                place.why = less;
                return (place, Some(keeper));
            }
            Err(reason) => why.push(reason),
        }
    }
    let keeper = match start_keeper(None) {
        Ok((keeper, less)) => {
            place.contained = keeper.isolation().processes;
            why.extend(less);
            Some(keeper)
        }
        Err(error) => {
            why.push(error.in_full());
            None
        }
    };
    place.why = why;
    (place, keeper)
}

/// A keeper whose tools see the staging folder at its guest's name.
fn mount_at(guest: &Path, staging: &Staging) -> Result<(Keeper, Vec<String>), String> {
    let reserved = ["/proc", "/sys", "/dev"];
    if guest == Path::new("/") || reserved.iter().any(|reserved| guest.starts_with(reserved)) {
        return Err(format!("`{}` is no place to mount anything on", guest.display()));
    }
    if !guest.is_dir() {
        return Err(format!(
            "at the sidecar there is no folder `{}` to mount the staging folder on (mkdir makes it so)",
            guest.display()
        ));
    }
    let (keeper, less) = start_keeper(Some((staging.path(), guest))).map_err(|error| error.in_full())?;
    // The mount was made by the folder's path, and who may write above it may have moved another one there.
    let mut seen = PathBuf::from(format!("/proc/{}/root", keeper.pid()));
    seen.extend(guest.strip_prefix("/"));
    if staging.is_at(&seen) {
        Ok((keeper, less))
    } else {
        Err(format!("`{}` is not what it was any more", staging.path().display()))
    }
}

/// The best keeper that can be had; with `mount`, the first appears at the second, or there is none.
fn start_keeper(mount: Option<(&Path, &Path)>) -> Result<(Keeper, Vec<String>), KeeperError> {
    let mounts: Vec<_> = mount
        .map(|(from, onto)| MountStep::Bind {
            from: from.to_owned(),
            onto: onto.to_owned(),
        })
        .into_iter()
        .collect();
    Keeper::start_best(&KeeperSpec {
        needs_mounts: !mounts.is_empty(),
        namespaces: Namespaces {
            mount: !mounts.is_empty(),
            pid: true,
        },
        mounts,
        ..KeeperSpec::default()
    })
}
