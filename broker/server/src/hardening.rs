//! What the process takes from itself before it holds a secret.

use std::io;

use rustix::{
    fs::Mode,
    process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit, umask},
};

/// No core dumps, no ptrace or `/proc/PID/mem` by other processes of the same user, and files for the owner alone.
///
/// # Errors
/// When the kernel refuses one of them.
pub(crate) fn harden() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    umask(Mode::RWXG | Mode::RWXO);
    Ok(())
}
