//! `serve`: identities for the workloads of this guest, renewed by fresh evidence for as long as the agent runs.
//!
//! Workloads ask over the SPIFFE Workload API on a Unix socket, or read files. What they may have follows from who they are
//! (`selector`), which the kernel says (`peer`), and from nothing that they say. Everything that is held is in one `World`;
//! keepers change it, streams and files follow it.

mod api;
mod authority;
mod files;
mod hpack;
mod keeper;
mod listener;
mod notify;
mod peer;
mod reload;
mod schedule;
mod selector;
mod settings;
mod status;
mod trust;
mod updates;
mod validate;
mod world;

/// Generated from `proto/workloadapi.proto`.
mod proto {
    #![expect(
        unreachable_pub,
        unused_qualifications,
        clippy::allow_attributes_without_reason,
        clippy::as_conversions,
        clippy::too_many_lines,
        reason = "generated code"
    )]

    tonic::include_proto!("_");
}

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use thiserror::Error;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{Notify, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use self::{
    api::Api,
    keeper::{Keeper, Keeping, release},
    listener::Socket,
    notify::Manager,
    world::World,
};
use crate::{
    console,
    exchange::Exchange,
    lease::{GRANTS, Session},
};

pub(crate) use self::settings::{ServeSection, ServeSettings};
pub use self::{files::SinkError, settings::ServeSettingsError};

/// Longest time for an orderly end.
const SHUTDOWN: Duration = Duration::from_secs(10);

/// Why nothing is served.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// No socket.
    #[error("expected to listen on {}", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// No files.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// No signals.
    #[error("expected to receive signals")]
    Signals(#[source] io::Error),
}

/// The parts that run.
struct Service {
    shared: Arc<Keeping>,
    settings: ServeSettings,
    manager: Manager,
    keepers: JoinSet<Vec<Session>>,
    keepers_stop: CancellationToken,
    sinks: JoinSet<()>,
    sinks_stop: CancellationToken,
    /// Of keepers that were replaced.
    retired: Vec<Session>,
}

/// Serves until the process is told to end. `reread` reads the settings again.
pub(crate) async fn run(
    exchange: Exchange,
    settings: ServeSettings,
    reread: impl Fn() -> Option<ServeSettings>,
) -> Result<(), ServeError> {
    for sink in settings.sinks.iter() {
        files::prepare(sink)?;
    }
    allow_descriptors(settings.limits.connections);
    let socket = Socket::open(&settings.socket)
        .map_err(|source| ServeError::Socket { path: settings.socket.clone(), source })?;
    let world = World { entries: Arc::clone(&settings.entries), ..World::default() };
    let (world, _) = watch::channel(Arc::new(world));
    let shared = Arc::new(Keeping { exchange, world, untrusted: Notify::new() });
    let stop = CancellationToken::new();
    let listening = tokio::spawn(socket.serve(Api::new(&shared), settings.limits, stop.clone()));
    let following = tokio::spawn(trust::follow(Arc::clone(&shared), stop.clone()));
    let mut service = Service::new(shared, settings);
    service.start_keepers();
    service.start_sinks();
    let outcome = service.until_told(reread).await;
    service.manager.stopping();
    let ended = timeout(SHUTDOWN, async {
        service.end().await;
        stop.cancel();
        // Both end by themselves now; a panic of theirs was reported already.
        let _ended = (listening.await, following.await);
    });
    if ended.await.is_err() {
        console::say("not everything ended in time");
    }
    outcome
}

/// Asks for as many file descriptors as connections may need: each has a socket and the handle of its process.
fn allow_descriptors(connections: usize) {
    let needed = u64::try_from(connections).unwrap_or(u64::MAX).saturating_mul(2).saturating_add(128);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(needed, |most| most.min(needed));
    if current.is_some_and(|current| current < wanted) {
        // With fewer, connections beyond them are refused.
        let _fewer = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
    }
}

impl Service {
    fn new(shared: Arc<Keeping>, settings: ServeSettings) -> Self {
        let manager = Manager::new(settings.ready);
        let (keepers_stop, sinks_stop) = (CancellationToken::new(), CancellationToken::new());
        let (keepers, sinks, retired) = (JoinSet::new(), JoinSet::new(), Vec::new());
        Self { shared, settings, manager, keepers, keepers_stop, sinks, sinks_stop, retired }
    }

    /// One keeper for as many wants as one attestation takes.
    fn start_keepers(&mut self) {
        let wants: Vec<_> = self.settings.wants().into_iter().collect();
        for chunk in wants.chunks(GRANTS) {
            let keeper = Keeper::new(Arc::clone(&self.shared), chunk.to_vec());
            self.keepers.spawn(keeper.keep(self.keepers_stop.clone()));
        }
    }

    fn start_sinks(&mut self) {
        for sink in self.settings.sinks.iter() {
            let worlds = self.shared.world.subscribe();
            self.sinks.spawn(files::follow(sink.clone(), worlds, self.sinks_stop.clone()));
        }
    }

    /// Follows signals and tells the service manager how things are.
    async fn until_told(&mut self, reread: impl Fn() -> Option<ServeSettings>) -> Result<(), ServeError> {
        let listen = |kind| signal(kind).map_err(ServeError::Signals);
        let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
        let mut hang_up = listen(SignalKind::hangup())?;
        let mut worlds = self.shared.world.subscribe();
        self.manager.listening();
        loop {
            self.manager.status(&worlds.borrow_and_update());
            tokio::select! {
                _told = terminate.recv() => return Ok(()),
                _told = interrupt.recv() => return Ok(()),
                _told = hang_up.recv() => {
                    self.manager.reloading();
                    match reread() {
                        Some(settings) => self.change(settings).await,
                        None => console::say("the settings stay as they were"),
                    }
                    self.manager.reloaded();
                }
                () = self.manager.alive() => {}
                // The sender is ours: it does not end before us.
                _changed = worlds.changed() => {}
            }
        }
    }

    /// Takes over new settings: entries at once, keepers and files where they changed.
    async fn change(&mut self, settings: ServeSettings) {
        for sink in settings.sinks.iter().filter(|sink| !self.settings.sinks.contains(sink)) {
            if let Err(error) = files::prepare(sink) {
                console::say(&format!("{}: the settings stay as they were", console::chain(&error)));
                return;
            }
        }
        if (&settings.socket, settings.limits) != (&self.settings.socket, self.settings.limits) {
            console::say("another socket and other limits count after a restart");
        }
        let old = std::mem::replace(&mut self.settings, settings);
        if *old.sinks != *self.settings.sinks {
            std::mem::take(&mut self.sinks_stop).cancel();
            while self.sinks.join_next().await.is_some() {}
            let gone = |directory: &PathBuf| !self.settings.sinks.iter().any(|sink| sink.directory == *directory);
            for sink in old.sinks.iter().filter(|sink| gone(&sink.directory)) {
                if let Err(error) = files::remove(sink) {
                    console::say(&console::chain(&error));
                }
            }
            self.start_sinks();
        }
        let wants = self.settings.wants();
        if old.wants() != wants {
            std::mem::take(&mut self.keepers_stop).cancel();
            self.retire_keepers().await;
            self.start_keepers();
        }
        let entries = Arc::clone(&self.settings.entries);
        World::change(&self.shared.world, |world| {
            world.keep_only(&wants);
            if *world.entries != *entries {
                world.entries = entries;
            }
        });
    }

    async fn retire_keepers(&mut self) {
        while let Some(sessions) = self.keepers.join_next().await {
            self.retired.extend(sessions.unwrap_or_default());
        }
    }

    /// Ends streams and files, and gives everything back.
    async fn end(&mut self) {
        World::change(&self.shared.world, |world| world.stopping = true);
        self.keepers_stop.cancel();
        self.retire_keepers().await;
        let sessions = std::mem::take(&mut self.retired);
        release(&self.shared.exchange, sessions).await;
        while self.sinks.join_next().await.is_some() {}
    }
}
