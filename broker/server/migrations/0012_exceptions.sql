-- Legacy static secrets that still exist: each has an owner, one system and an end. An exception is live while `ended_at` is
-- null and `expires_at` is ahead; an end is never undone. `secret` names what lies sealed in `secrets`.
CREATE TABLE exceptions (
    id           TEXT PRIMARY KEY,
    tenant       TEXT NOT NULL REFERENCES tenants (id),
    name         TEXT NOT NULL,
    owner        TEXT NOT NULL,
    reason       TEXT NOT NULL,
    system       TEXT NOT NULL,
    secret       TEXT NOT NULL,
    client       TEXT,
    sources      TEXT NOT NULL,
    extends      TEXT REFERENCES exceptions (id),
    author       TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    -- The smallest number of days before the end that was alerted so far.
    alerted_days INTEGER,
    uses         INTEGER NOT NULL DEFAULT 0,
    last_use_at  INTEGER,
    ended_at     INTEGER,
    end_cause    TEXT
) STRICT;
-- One secret is for one system: it has one live exception at most.
CREATE UNIQUE INDEX live_exceptions_by_name ON exceptions (tenant, name) WHERE ended_at IS NULL;
CREATE UNIQUE INDEX live_exceptions_by_secret ON exceptions (tenant, secret) WHERE ended_at IS NULL;

-- What happened to an exception, each act written in the transaction that did it.
CREATE TABLE exception_history (
    sequence  INTEGER PRIMARY KEY AUTOINCREMENT,
    exception TEXT NOT NULL REFERENCES exceptions (id),
    at        INTEGER NOT NULL,
    act       TEXT NOT NULL,
    by        TEXT NOT NULL,
    detail    TEXT NOT NULL
) STRICT;
CREATE INDEX exception_history_by_time ON exception_history (exception, act, at);

-- The event stream carries more than ends of leases: `data` is the JSON of an event that is about none.
ALTER TABLE lease_events ADD COLUMN event TEXT NOT NULL DEFAULT 'lease-ended';
ALTER TABLE lease_events ADD COLUMN data TEXT;

-- Whether a secret may go over the bridge to a client that does not attest. What is not marked never does.
ALTER TABLE secrets ADD COLUMN bridge INTEGER NOT NULL DEFAULT 0;

-- A removed administrator stays on record and may do nothing.
ALTER TABLE administrators ADD COLUMN removed_at INTEGER;
CREATE UNIQUE INDEX live_administrators_by_name ON administrators (name) WHERE removed_at IS NULL;

-- What the guest itself says about the static secrets in its image: no evidence of the hardware.
ALTER TABLE guests ADD COLUMN reported_secrets INTEGER;
ALTER TABLE guests ADD COLUMN reported_complete INTEGER;
ALTER TABLE guests ADD COLUMN reported_at INTEGER;
