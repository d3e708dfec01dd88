//! A PostgreSQL server of our own: in a temporary directory, on a free port, under an unprivileged user, with TLS.

use std::{
    fs::{self, File, OpenOptions},
    io::ErrorKind,
    net::{Ipv4Addr, TcpListener},
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Signal, geteuid};
use tempfile::TempDir;

use crate::process::{Process, Said};

/// `nobody` of Debian, for who runs the tests as root: the server refuses to be root.
const NOBODY: u32 = 65534;

/// The role that the broker has.
pub const MANAGER: &str = "manager";
/// Its password.
pub const MANAGER_PASSWORD: &str = "password of the manager";
/// The password of the superuser `postgres`.
const SUPERUSER_PASSWORD: &str = "password of the superuser";
/// The database that guests use.
pub const DATABASE: &str = "orders";

/// A running server with the database `orders`, a table that the group role `app` owns, and a manager who is no superuser.
#[derive(Debug)]
pub struct Postgres {
    // First: ends before its directory goes.
    process: Option<Process>,
    directory: TempDir,
    port: u16,
}

impl Postgres {
    /// Makes and starts it.
    ///
    /// # Errors
    /// When PostgreSQL (Debian package `postgresql`) or OpenSSL's command is missing, or it does not start.
    pub fn start() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut server = Self { process: None, directory, port };
        server.make_certificates()?;
        fs::write(server.path("superuser.password"), SUPERUSER_PASSWORD)?;
        fs::write(server.path("manager.password"), format!("{MANAGER_PASSWORD}\n"))?;
        server.hand_over()?;
        let mut initdb = server.command("initdb")?;
        initdb.args(["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]);
        initdb.arg("--pwfile").arg(server.path("superuser.password")).arg("-D").arg(server.path("data"));
        Said::by(&mut initdb)?.done()?;
        server.restart()?;
        server.sql_in("postgres", &format!("CREATE DATABASE {DATABASE}"))?;
        server.sql(&format!(
            "CREATE ROLE {MANAGER} LOGIN CREATEROLE PASSWORD '{MANAGER_PASSWORD}';
             CREATE ROLE app NOLOGIN ADMIN {MANAGER};
             GRANT CREATE ON SCHEMA public TO app;
             SET ROLE app; CREATE TABLE lines (text TEXT); RESET ROLE;"
        ))?;
        Ok(server)
    }

    /// Starts it again after [`Postgres::stop`].
    ///
    /// # Errors
    /// When it does not come up.
    pub fn restart(&mut self) -> Result<()> {
        let log: File = OpenOptions::new().create(true).append(true).open(self.path("log"))?;
        let mut command = self.command("postgres")?;
        command.arg("-D").arg(self.path("data")).arg("-k").arg(self.directory.path());
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-c", "fsync=off", "-c", "log_statement=all"]);
        command.args(["-c", "max_connections=60", "-c", "ssl=on"]);
        for (setting, file) in [("ssl_cert_file", "server.pem"), ("ssl_key_file", "server.key")] {
            command.arg("-c").arg(format!("{setting}={}", self.path(file).display()));
        }
        self.process = Some(Process::start(command.stderr(log))?);
        let begun = Instant::now();
        while self.sql_in("postgres", "SELECT 1").is_err() {
            if let Some(status) = self.process.as_mut().map(Process::ended).transpose()?.flatten() {
                bail!("expected PostgreSQL to serve, it ended with {status}: {}", self.log()?);
            }
            ensure!(begun.elapsed() < Duration::from_secs(30), "expected PostgreSQL to be ready: {}", self.log()?);
            sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Stops it; sessions end.
    ///
    /// # Errors
    /// When it does not stop.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        // "Fast": the default signal would wait for every session.
        process.signal(Signal::INT)?;
        let asked = Instant::now();
        while process.ended()?.is_none() {
            ensure!(asked.elapsed() < Duration::from_secs(20), "expected PostgreSQL to stop");
            sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// A file of its directory: `ca.pem`, `manager.password`.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Everything it logged: every statement is in it.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.path("log"))?)
    }

    /// Runs statements as the superuser in the guests' database; what they say, a line for each row.
    ///
    /// # Errors
    /// When one of them fails.
    pub fn sql(&self, statements: &str) -> Result<String> {
        self.sql_in(DATABASE, statements)
    }

    /// The names of the broker's roles that are there.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn roles(&self) -> Result<Vec<String>> {
        let names = self.sql("SELECT rolname FROM pg_roles WHERE starts_with(rolname, 'countersign_') ORDER BY 1")?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Logs in with TLS as guests do and runs statements.
    ///
    /// # Errors
    /// When `psql` (Debian package `postgresql-client`) is missing.
    pub fn login(&self, user: &str, password: &str, statements: &str) -> Result<Said> {
        let address = format!(
            "host=127.0.0.1 port={} dbname={DATABASE} user={user} sslmode=verify-full sslrootcert={}",
            self.port,
            self.path("ca.pem").display()
        );
        Said::by(psql(&address, statements).env("PGPASSWORD", password))
    }

    fn sql_in(&self, database: &str, statements: &str) -> Result<String> {
        let address = format!("host=127.0.0.1 port={} dbname={database} user=postgres sslmode=require", self.port);
        Said::by(psql(&address, statements).env("PGPASSWORD", SUPERUSER_PASSWORD))?.done()
    }

    /// `openssl`: a CA, and a certificate for 127.0.0.1.
    fn make_certificates(&self) -> Result<()> {
        let extension = self.path("san");
        fs::write(&extension, "subjectAltName=IP:127.0.0.1")?;
        let new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj"];
        let steps: [&[&str]; 3] = [
            &[&new[..], &["/CN=test CA", "-x509", "-days", "2", "-keyout", "ca.key", "-out", "ca.pem"]].concat(),
            &[&new[..], &["/CN=127.0.0.1", "-keyout", "server.key", "-out", "server.csr"]].concat(),
            &[
                "x509",
                "-req",
                "-in",
                "server.csr",
                "-CA",
                "ca.pem",
                "-CAkey",
                "ca.key",
                "-CAcreateserial",
                "-days",
                "2",
                "-extfile",
                "san",
                "-out",
                "server.pem",
            ],
        ];
        for step in steps {
            Said::by(Command::new("openssl").args(step).current_dir(self.directory.path()))?.done()?;
        }
        Ok(())
    }

    /// A program of PostgreSQL, under a user that is not root.
    fn command(&self, name: &str) -> Result<Command> {
        let mut command = Command::new(program(name)?);
        command.current_dir(self.directory.path()).env_clear().env("LC_ALL", "C").env("PATH", "/usr/bin:/bin");
        if geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        Ok(command)
    }

    fn hand_over(&self) -> Result<()> {
        if geteuid().is_root() {
            for entry in fs::read_dir(self.directory.path())? {
                chown(entry?.path(), Some(NOBODY), Some(NOBODY))?;
            }
            chown(self.directory.path(), Some(NOBODY), Some(NOBODY))?;
        }
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // The test has its verdict already.
        let _already_gone = self.stop();
    }
}

/// `psql` that reads no one's settings.
#[must_use]
pub fn psql(address: &str, statements: &str) -> Command {
    let mut command = Command::new("psql");
    command.args(["--no-psqlrc", "--no-password", "--tuples-only", "--no-align", "--quiet", "-v", "ON_ERROR_STOP=1"]);
    command.args(["-c", statements, address]).env("PGCONNECT_TIMEOUT", "10");
    command
}

/// The newest of the installed versions; Debian leaves the server's programs out of the path.
fn program(name: &str) -> Result<PathBuf> {
    let versions = match fs::read_dir("/usr/lib/postgresql") {
        Ok(versions) => versions.collect::<Result<Vec<_>, _>>()?,
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let number =
        |path: &Path| path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<u32>().ok());
    let newest = versions.iter().map(fs::DirEntry::path).max_by_key(|path| number(path));
    let program = newest.map(|version| version.join("bin").join(name)).filter(|program| program.exists());
    program.with_context(|| format!("expected {name} of PostgreSQL in /usr/lib/postgresql (package postgresql)"))
}
