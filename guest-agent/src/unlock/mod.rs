//! Serving keys at sockets, the way systemd-cryptsetup asks for them (crypttab(5), "AF_UNIX key files"): it connects, reads
//! to the end, and what it read is the key. Its own socket has an abstract name that says which volume it opens.

mod caller;
mod listeners;
mod offline;
mod serve;

pub use self::listeners::SocketError;
pub(crate) use self::{
    listeners::Listeners,
    offline::{OfflineKeys, OpenedKey, ReleasedKey},
    serve::{KeySource, serve},
};
