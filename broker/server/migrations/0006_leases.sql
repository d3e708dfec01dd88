-- Leases with an end. A lease of the schema before recorded nothing that could end it and lived for an hour at most, so
-- those are not carried over.
DROP TABLE leases;
-- What a decision rests on is in `grounds` from now on.
DROP TABLE decision_reference_sets;

-- One running guest, from its first attestation on: whoever renews one of its leases is the same guest.
CREATE TABLE guests (
    id          TEXT PRIMARY KEY,
    tenant      TEXT NOT NULL REFERENCES tenants (id),
    decision_id TEXT NOT NULL,
    workloads   TEXT NOT NULL,
    platform    TEXT NOT NULL,
    hwmodel     TEXT NOT NULL,
    tcb_status  TEXT,
    measurement TEXT,
    chip        TEXT,
    tee_key     TEXT NOT NULL,
    first_at    INTEGER NOT NULL,
    last_at     INTEGER NOT NULL
) STRICT;
CREATE INDEX guests_by_time ON guests (tenant, last_at);

-- `status` is the lease's place in the status lists. A lease is open while `ended_at` is null; an end is never undone.
CREATE TABLE leases (
    id          TEXT PRIMARY KEY,
    tenant      TEXT NOT NULL REFERENCES tenants (id),
    guest       TEXT NOT NULL REFERENCES guests (id),
    decision_id TEXT NOT NULL REFERENCES decisions (id),
    kind        TEXT NOT NULL,
    name        TEXT NOT NULL,
    version     INTEGER NOT NULL,
    status      INTEGER NOT NULL UNIQUE,
    issued_at   INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    ended_at    INTEGER,
    end_cause   TEXT
) STRICT;
CREATE INDEX leases_by_guest ON leases (guest);
CREATE INDEX leases_by_decision ON leases (decision_id);
CREATE INDEX open_leases_by_expiry ON leases (expires_at) WHERE ended_at IS NULL;
CREATE INDEX ended_leases_by_status ON leases (status) WHERE ended_at IS NOT NULL;

-- What an affirmed decision rested on: when one of these is revoked, the leases that the decision opened end.
CREATE TABLE grounds (
    tenant      TEXT NOT NULL,
    kind        TEXT NOT NULL,
    value       TEXT NOT NULL,
    decision_id TEXT NOT NULL,
    PRIMARY KEY (tenant, kind, value, decision_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX grounds_by_decision ON grounds (decision_id);

-- Standing revocations: while a row is here, no attestation that rests on it opens a lease.
CREATE TABLE revocations (
    id         TEXT PRIMARY KEY,
    tenant     TEXT NOT NULL REFERENCES tenants (id),
    kind       TEXT NOT NULL,
    value      TEXT NOT NULL,
    reason     TEXT NOT NULL,
    author     TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    lifted_at  INTEGER
) STRICT;
CREATE UNIQUE INDEX standing_revocations ON revocations (tenant, kind, value) WHERE lifted_at IS NULL;

-- One row for each end, written in the transaction that ends the lease. The event stream reads from here, so that an end
-- is told also when the broker that made it is gone.
CREATE TABLE lease_events (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant   TEXT NOT NULL,
    at       INTEGER NOT NULL,
    lease    TEXT NOT NULL,
    guest    TEXT NOT NULL,
    kind     TEXT NOT NULL,
    name     TEXT NOT NULL,
    status   INTEGER NOT NULL,
    cause    TEXT NOT NULL
) STRICT;
CREATE INDEX lease_events_by_time ON lease_events (at);

-- The next unused place in the status lists. Brokers take blocks of places, so that a place is never given twice.
CREATE TABLE status_places (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    next     INTEGER NOT NULL
) STRICT;
INSERT INTO status_places (only_row, next) VALUES (1, 0);
