//! One database server: making, prolonging and dropping roles. Each of them can be done again without harm.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use keys::random::SystemRandom;
use tokio::sync::Semaphore;
use verifier::Timestamp;

use super::{
    connection::{DatabaseError, Endpoint, Session},
    scram,
    sql::{Filling, identifier, literal, script},
};
use crate::config::{DatabaseServer, RoleEntry};

/// What the names of our roles begin with.
pub(crate) const PREFIX: &str = "countersign_";
/// Sessions of the broker on one server at once.
const SESSIONS: usize = 4;

/// A database server.
pub(crate) struct Server {
    pub(crate) settings: DatabaseServer,
    /// The CA of its certificate, PEM.
    pub(super) ca: Option<String>,
    endpoint: Endpoint,
    idle: Mutex<Vec<Session>>,
    turns: Semaphore,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({})", self.settings.name)
    }
}

/// A role to make.
#[derive(Clone, Copy)]
pub(super) struct NewRole<'a> {
    pub(super) role: &'a str,
    pub(super) password: &'a str,
    pub(super) comment: &'a str,
    pub(super) valid_until: Timestamp,
}

impl Server {
    /// Reads the CA; nothing is connected yet.
    pub(super) fn new(settings: &DatabaseServer) -> Result<Self, DatabaseError> {
        let read = |path: &std::path::PathBuf| {
            let read = std::fs::read_to_string(path);
            read.map_err(|source| DatabaseError::File { path: path.display().to_string(), source })
        };
        let ca = settings.ca.as_ref().map(read).transpose()?;
        let endpoint = Endpoint::new(settings, ca.as_deref())?;
        let (settings, idle) = (settings.clone(), Mutex::default());
        Ok(Self { settings, ca, endpoint, idle, turns: Semaphore::new(SESSIONS) })
    }

    /// Makes the role, in one transaction with its comment.
    pub(super) async fn make(&self, entry: &RoleEntry, new: NewRole<'_>) -> Result<(), DatabaseError> {
        let verifier = scram::verifier(new.password, &mut SystemRandom::new())?;
        let filling = Filling { role: new.role, password: &verifier, valid_until: new.valid_until };
        let comment = format!("COMMENT ON ROLE {} IS {};", identifier(new.role), literal(new.comment));
        let script = script(&entry.creation, &filling) + &comment;
        let session = self.session().await?;
        match session.run(&script).await {
            Err(DatabaseError::Broken(error)) => {
                // An idle connection that the server had closed, most often. What did arrive is whole or not there.
                tracing::debug!(server = self.settings.name, %error, "connecting again");
                drop(session);
                let session = self.fresh().await?;
                if !self.stands(&session, new.role).await? {
                    session.run(&script).await?;
                }
                self.keep(session);
                Ok(())
            }
            other => self.done(session, other),
        }
    }

    /// Lets the role hold until `valid_until`. A role that is gone, or may not log in any more, is not revived.
    pub(super) async fn prolong(&self, role: &str, valid_until: Timestamp) -> Result<(), DatabaseError> {
        let script = format!("ALTER ROLE {} VALID UNTIL {};", identifier(role), literal(&valid_until.to_string()));
        self.run_twice(&script).await
    }

    /// Runs what may be done again, once more when an idle session broke.
    async fn run_twice(&self, script: &str) -> Result<(), DatabaseError> {
        let session = self.session().await?;
        match session.run(script).await {
            Err(DatabaseError::Broken(_)) => {
                drop(session);
                let session = self.fresh().await?;
                let again = session.run(script).await;
                self.done(session, again)
            }
            other => self.done(session, other),
        }
    }

    /// Gives a role that is not ours another password. The server gets its SCRAM verifier only.
    pub(super) async fn change_password(&self, role: &str, password: &str) -> Result<(), DatabaseError> {
        let verifier = scram::verifier(password, &mut SystemRandom::new())?;
        let script = format!("ALTER ROLE {} PASSWORD {};", identifier(role), literal(&verifier));
        self.run_twice(&script).await
    }

    /// Ends the role: no login, no session, nothing owned, no role.
    pub(super) async fn drop_role(&self, role: &str) -> Result<(), DatabaseError> {
        let session = self.session().await?;
        let done = self.end(&session, role).await;
        match done {
            Err(DatabaseError::Broken(_)) => {
                drop(session);
                let session = self.fresh().await?;
                let again = self.end(&session, role).await;
                self.done(session, again)
            }
            other => self.done(session, other),
        }
    }

    async fn end(&self, session: &Session, role: &str) -> Result<(), DatabaseError> {
        let name = identifier(role);
        let find = format!("SELECT oid FROM pg_roles WHERE rolname = {}", literal(role));
        let Some(oid) = session.column(&find).await?.into_iter().next() else { return Ok(()) };
        // A transaction of its own: whatever comes of the rest, nobody logs in with it from here on.
        session.run(&format!("ALTER ROLE {name} NOLOGIN PASSWORD NULL;")).await?;
        // A member may end its sessions and hand over what it owns, also when the broker is no superuser.
        session.run(&format!("GRANT {name} TO CURRENT_USER;")).await?;
        let terminate =
            format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usesysid = {};", literal(&oid));
        session.column(&terminate).await?;
        let filling = Filling { role, password: "", valid_until: Timestamp::from_unix(0) };
        let last = script(&self.settings.revocation, &filling);
        session.run(&format!("{terminate}\n{last}DROP ROLE {name};")).await?;
        // A login that was under way when it was forbidden: it has no role any more, and is not to have a session.
        let late = format!("SELECT pid FROM pg_stat_activity WHERE usesysid = {}", literal(&oid));
        if !session.column(&late).await?.is_empty() {
            session.column(&terminate).await?;
        }
        Ok(())
    }

    /// The names of all roles whose comment is `comment` or begins with it.
    pub(super) async fn roles_of(&self, comment: &str) -> Result<Vec<String>, DatabaseError> {
        let session = self.session().await?;
        let query = format!(
            "SELECT rolname FROM pg_roles WHERE starts_with(rolname, {}) AND starts_with(shobj_description(oid, 'pg_authid'), {})",
            literal(PREFIX),
            literal(comment),
        );
        let done = session.column(&query).await;
        self.done(session, done)
    }

    async fn stands(&self, session: &Session, role: &str) -> Result<bool, DatabaseError> {
        let query = format!("SELECT 1 FROM pg_roles WHERE rolname = {}", literal(role));
        Ok(!session.column(&query).await?.is_empty())
    }

    /// An idle session, or a new one.
    async fn session(&self) -> Result<Session, DatabaseError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle.filter(|session| !session.is_closed()) {
            Some(session) => Ok(session),
            None => self.fresh().await,
        }
    }

    async fn fresh(&self) -> Result<Session, DatabaseError> {
        Session::open(&self.settings, &self.endpoint).await
    }

    /// Keeps the session for the next one when the server is in order with it.
    fn done<T>(&self, session: Session, outcome: Result<T, DatabaseError>) -> Result<T, DatabaseError> {
        if outcome.as_ref().err().is_none_or(DatabaseError::is_rolled_back) {
            self.keep(session);
        }
        outcome
    }

    fn keep(&self, session: Session) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < SESSIONS && !session.is_closed() {
            idle.push(session);
        }
    }

    /// Waits for a turn: the broker never has more sessions than it should.
    pub(super) async fn turn(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        self.turns.acquire().await.ok()
    }
}
