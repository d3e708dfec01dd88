//! Mounting.
use std::io;
use std::path::Path;

use fuser::{BackgroundSession, Config, MountOption};

use super::file_system::TsmFileSystem;
use super::{Guest, SimulatedGuest, StateSource};

/// A mounted file system; gone when dropped.
#[derive(Debug)]
pub struct TsmMount(BackgroundSession);

impl TsmMount {
    /// Mounts over an existing directory, which then is what `/sys/kernel/config/tsm/report` is elsewhere. Needs root
    /// and `/dev/fuse`, but no helper program.
    ///
    /// # Errors
    /// When the mount is refused.
    pub fn new(directory: &Path, source: StateSource) -> io::Result<Self> {
        Self::with_guest(directory, Box::new(SimulatedGuest::new(source)))
    }

    /// The same with another guest behind it.
    ///
    /// # Errors
    /// When the mount is refused.
    pub fn with_guest(directory: &Path, guest: Box<dyn Guest>) -> io::Result<Self> {
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::FSName("softtee-tsm".to_owned()),
            MountOption::Subtype("configfs".to_owned()),
            MountOption::NoDev,
            MountOption::NoSuid,
            MountOption::NoExec,
        ];
        fuser::spawn_mount(TsmFileSystem::new(guest), directory, &config).map(Self)
    }

    /// Unmounts and waits until nothing is served any more.
    ///
    /// # Errors
    /// When the directory is busy.
    pub fn unmount(self) -> io::Result<()> {
        self.0.umount_and_join()
    }
}
