//! One caller after the other.

use std::{future::pending, time::Duration};

use keys::secret::SecretBytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::{
    io::AsyncWriteExt,
    net::UnixStream,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    caller,
    listeners::{Listeners, SocketError},
};
use crate::{console, failure::Failure, luks::VolumeName};

/// Callers that wait while one is served.
const QUEUE: usize = 16;
/// Longest time for a caller to take its key.
const HANDOVER_LIMIT: Duration = Duration::from_secs(10);
/// How often to look whether a caller is still there.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Where keys come from.
pub(crate) trait KeySource {
    /// The key of `volume`.
    async fn key(&self, volume: &VolumeName) -> Result<SecretBytes, Failure>;
}

/// Serves callers until nobody came for `idle`, or until the process is told to stop. What failed last is the outcome, so that
/// `systemctl status` shows it.
pub(crate) async fn serve(
    mut listeners: Listeners,
    keys: &impl KeySource,
    served: Option<&VolumeName>,
    idle: Option<Duration>,
) -> Result<(), Failure> {
    let unusable = |source| Failure::Make { what: "a signal handler", reason: std::io::Error::to_string(&source) };
    let mut terminate = signal(SignalKind::terminate()).map_err(unusable)?;
    let (sender, mut callers) = mpsc::channel(QUEUE);
    let mut tasks = JoinSet::new();
    for socket in std::mem::take(&mut listeners.sockets) {
        let sender = sender.clone();
        tasks.spawn(async move {
            while let Ok((stream, _address)) = socket.accept().await {
                if sender.send(stream).await.is_err() {
                    break;
                }
            }
        });
    }
    drop(sender);
    let mut outcome = Ok(());
    loop {
        let caller = tokio::select! {
            caller = callers.recv() => caller,
            _asked = terminate.recv() => return outcome,
            () = rest(idle) => return outcome,
        };
        let Some(stream) = caller else {
            return Err(SocketError::NotActivated.into());
        };
        tokio::select! {
            done = Box::pin(answer(stream, keys, served)) => outcome = done,
            _asked = terminate.recv() => return outcome,
        }
    }
}

async fn rest(idle: Option<Duration>) {
    match idle {
        Some(idle) => sleep(idle).await,
        None => pending().await,
    }
}

/// One caller. Whatever goes wrong, it gets no byte.
async fn answer(mut stream: UnixStream, keys: &impl KeySource, served: Option<&VolumeName>) -> Result<(), Failure> {
    let volume = match caller::volume(&stream, served) {
        Ok(volume) => volume,
        Err(stranger) => {
            console::note(&format!("a caller at the socket gets no key: {stranger}"));
            return Ok(());
        }
    };
    let key = tokio::select! {
        key = keys.key(&volume) => key,
        () = gone(&stream) => {
            console::note(&format!("who asked for the key of {volume} does not wait any more"));
            return Ok(());
        }
    };
    let key = key.map_err(|failure| {
        console::say(&format!("the volume {volume} stays closed"));
        failure.say();
        Failure::Unserved { status: failure.exit_status() }
    })?;
    let handover = timeout(HANDOVER_LIMIT, async {
        stream.write_all(key.expose()).await?;
        stream.shutdown().await
    });
    match handover.await {
        Ok(Ok(())) => console::note(&format!("the key of {volume} is handed over")),
        Ok(Err(_)) | Err(_) => console::note(&format!("who asked for the key of {volume} did not take it")),
    }
    Ok(())
}

/// Until both directions of the stream are closed. systemd-cryptsetup closes its own sending side at once, which says nothing.
async fn gone(stream: &UnixStream) {
    loop {
        sleep(LOOK_AGAIN).await;
        let mut ends = [PollFd::new(stream, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if poll(&mut ends, Some(&now)).is_ok() && ends.iter().any(|end| end.revents().contains(PollFlags::HUP)) {
            return;
        }
    }
}
