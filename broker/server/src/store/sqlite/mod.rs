//! The embedded store: SQLite in WAL mode, every commit flushed to disk.

use std::{fs::OpenOptions, os::unix::fs::OpenOptionsExt, path::Path, time::Duration};

use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{Store, StoreError, StoreFuture};

mod audit;
#[cfg(test)]
mod audit_tests;
mod break_glass;
#[cfg(test)]
mod break_glass_tests;
mod certificates;
mod counters;
#[cfg(test)]
mod credential_tests;
mod credentials;
mod decisions;
mod endorsements;
mod ends;
mod enrolments;
#[cfg(test)]
mod exception_tests;
mod exceptions;
#[cfg(test)]
mod exchange_tests;
mod exchanges;
mod exposure;
mod federation;
mod floors;
mod joins;
mod keys;
#[cfg(test)]
mod lease_tests;
mod leases;
mod references;
mod rules;
mod secrets;
mod settle;
mod shadow;
#[cfg(test)]
mod tenant_tests;
mod tenants;
mod writer;

/// How many connections read at the same time.
const READERS: u32 = 4;
/// How long a connection waits for another process's write.
const BUSY: Duration = Duration::from_secs(5);

/// Memory for pages of each connection: as negative kibibytes. The inner pages of the indexes that a settlement writes to
/// stay in it.
const CACHE: &str = "-8192";
/// Pages of the write-ahead log after which it is copied into the main file: a page that many settlements write to is then
/// copied once for all of them.
const CHECKPOINT: &str = "4000";

/// A store in one SQLite file.
#[derive(Debug)]
pub(crate) struct SqliteStore {
    pool: SqlitePool,
    writer: writer::Writer,
}

impl SqliteStore {
    /// Opens the file, makes it (readable for its owner alone) when it is absent, and brings its schema up to date.
    ///
    /// # Errors
    /// When the file cannot be opened or its schema is newer than this program.
    pub(crate) async fn open(path: &Path) -> Result<Self, StoreError> {
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY)
            .pragma("secure_delete", "ON")
            .pragma("cache_size", CACHE)
            .pragma("wal_autocheckpoint", CHECKPOINT);
        let pool = SqlitePoolOptions::new()
            .max_connections(READERS)
            // A connection to a file does not break while it waits, and looking costs a hand-over to its thread.
            .test_before_acquire(false)
            .connect_with(options.clone())
            .await?;
        sqlx::migrate!("./migrations").run(&pool).await?;
        Ok(Self { pool, writer: writer::Writer::start(&options).await? })
    }

    /// Closes every connection, so that all is in the main file.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }
}

impl Store for SqliteStore {
    fn ping(&self) -> StoreFuture<'_, ()> {
        Box::pin(async {
            sqlx::query("SELECT 1").execute(&self.pool).await?;
            Ok(())
        })
    }
}

/// A column that holds seconds since the epoch, or a count, as this program's `u32`.
fn to_u32(what: &'static str, value: i64) -> Result<u32, StoreError> {
    u32::try_from(value).map_err(|_out_of_range| StoreError::Unknown { what, found: value.to_string() })
}

/// A count or place as this program's `u64`.
fn to_u64(what: &'static str, value: i64) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|_negative| StoreError::Unknown { what, found: value.to_string() })
}

/// A place or sequence number as the database holds it.
fn to_i64(what: &'static str, value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_out_of_range| StoreError::Unknown { what, found: value.to_string() })
}
