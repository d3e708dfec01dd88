//! Keeping the process's memory to itself.

use rustix::{
    io::Errno,
    mm::{MlockAllFlags, mlockall},
    process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit},
    thread::{CapabilitySet, capabilities},
};

/// Turns off core dumps and debuggers, and keeps memory out of swap where the process may.
///
/// # Errors
/// When core dumps cannot be turned off.
pub(crate) fn harden() -> Result<(), Errno> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    if may_lock_everything() {
        // A guest without the right to lock memory works as well; its swap, if any, is the operator's.
        let _not_locked = mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT);
    }
    Ok(())
}

/// With a limit, locking succeeds now and lets an allocation fail later: then rather not.
fn may_lock_everything() -> bool {
    getrlimit(Resource::Memlock).current.is_none()
        || capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK))
}
