//! A broker, a guest, and the agent that serves in it.

use std::{
    fs::{self, File},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use e2e::{
    broker::{Broker, Setup},
    guest::Guest,
    process::Process,
};
use spiffe::WorkloadApiClient;
use tokio::runtime::{Builder, Runtime};

/// A broker whose SVIDs live `ttl` seconds.
pub(crate) fn broker(ttl: u32) -> Broker {
    let more = format!(
        "[identity]\ntrust_domain = \"example.org\"\n[[identity.svid]]\nname = \"web\"\nworkloads = [\"web\"]\n\
         audiences = [\"db.example\"]\nttl_seconds = {ttl}\n[[identity.svid]]\nname = \"not-for-web\"\nworkloads = [\"db\"]\n"
    );
    Broker::start(&Setup { more: &more, ..Setup::default() }).unwrap()
}

/// The entry that this very process matches.
pub(crate) fn entry() -> String {
    let uid = rustix::process::getuid().as_raw();
    format!(
        "[[serve.entry]]\nsvid = \"web\"\naudiences = [\"db.example\"]\nhint = \"internal\"\nmatch = {{ uid = {uid} }}\n"
    )
}

/// A running agent. Dropping it asks it to end.
pub(crate) struct Agent {
    pub(crate) process: Process,
    pub(crate) guest: Guest,
    runtime: Runtime,
}

impl Agent {
    /// Starts one in a new healthy guest with these lines of `[serve]`.
    pub(crate) fn start(broker: &Broker, serve: &str) -> Self {
        Self::start_in(Guest::start("").unwrap(), broker, serve, |_| {})
    }

    /// The same in a guest that is there, with a command that is changed before.
    pub(crate) fn start_in(guest: Guest, broker: &Broker, serve: &str, change: impl FnOnce(&mut Command)) -> Self {
        let mut command = Self::command(&guest, broker, serve);
        change(&mut command);
        Self::around(Process::start(&mut command).unwrap(), guest)
    }

    /// Around an agent that was started in `guest`, as soon as it listens.
    pub(crate) fn around(process: Process, guest: Guest) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let mut agent = Self { process, guest, runtime };
        let begun = Instant::now();
        while UnixStream::connect(agent.socket()).is_err() {
            assert!(agent.process.ended().unwrap().is_none(), "{}", agent.log());
            assert!(begun.elapsed() < Duration::from_secs(20), "{}", agent.log());
            sleep(Duration::from_millis(20));
        }
        agent
    }

    /// `countersign-agent serve` with its settings in the guest's directory.
    pub(crate) fn command(guest: &Guest, broker: &Broker, serve: &str) -> Command {
        configure(guest, broker, serve);
        let log = File::options().create(true).append(true).open(guest.path("log")).unwrap();
        let mut command = guest.agent().unwrap();
        command.arg("serve").arg("--config").arg(guest.path("agent.toml")).stderr(log);
        command
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.guest.path("workload.sock")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.guest.path("log")).unwrap_or_default()
    }

    /// Runs `work` with a client of the socket.
    pub(crate) fn with<T>(&self, work: impl AsyncFnOnce(&WorkloadApiClient) -> T) -> T {
        let endpoint = format!("unix://{}", self.socket().display());
        self.runtime.block_on(async {
            let client = WorkloadApiClient::connect_to(endpoint).await.unwrap();
            tokio::time::timeout(Duration::from_secs(60), work(&client))
                .await
                .unwrap_or_else(|_| panic!("{}", self.log()))
        })
    }

    /// Waits until this process has an identity.
    pub(crate) fn wait(&self) -> spiffe::X509Svid {
        let begun = Instant::now();
        loop {
            match self.with(async |client| client.fetch_x509_svid().await) {
                Ok(svid) => return svid,
                Err(error) => assert!(begun.elapsed() < Duration::from_secs(30), "{error:?}: {}", self.log()),
            }
            sleep(Duration::from_millis(50));
        }
    }

    /// What the agent says instead of an identity.
    pub(crate) fn refusal(&self) -> String {
        format!("{:?}", self.with(async |client| client.fetch_x509_svid().await).unwrap_err())
    }
}

/// Writes the settings.
pub(crate) fn configure(guest: &Guest, broker: &Broker, serve: &str) {
    let settings = format!(
        "broker = {:?}\nbroker_ca = {:?}\n[serve]\nsocket = {:?}\n{serve}",
        broker.url(),
        broker.ca(),
        guest.path("workload.sock"),
    );
    let (file, beside) = (guest.path("agent.toml"), guest.path("agent.toml.new"));
    fs::write(&beside, settings).unwrap();
    fs::rename(beside, file).unwrap();
}

/// Waits for something, twenty seconds at most.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        sleep(Duration::from_millis(20));
    }
}

/// The Python of the client that `scripts/lib/spiffe-client` installs; says so once when it is not there.
pub(crate) fn python() -> Option<PathBuf> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/spiffe-client/bin/python");
    if python.exists() {
        return Some(python);
    }
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    {
        eprintln!("target/spiffe-client is not here: the Python client is skipped");
    }
    None
}
