-- Names this store to the systems outside in which it makes things, so that it finds its own there and leaves others' alone.
CREATE TABLE installation (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    id       TEXT NOT NULL
) STRICT;
INSERT INTO installation (only_row, id) VALUES (1, lower(hex(randomblob(16))));

-- Roles of databases, one for each lease. A row is written before the role is made and outlives it:
--   requested  the role may be there; no lease stands on it yet
--   active     a lease stands on it (set in the transaction that opens the lease)
--   ending     it must go: its lease ended, or never came to be until `settle_by`
--   ended      it is gone
CREATE TABLE database_roles (
    role         TEXT PRIMARY KEY,
    tenant       TEXT NOT NULL,
    lease        TEXT NOT NULL UNIQUE,
    server       TEXT NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('requested', 'active', 'ending', 'ended')),
    settled      INTEGER NOT NULL DEFAULT 0,
    requested_at INTEGER NOT NULL,
    settle_by    INTEGER NOT NULL,
    attempts     INTEGER NOT NULL DEFAULT 0,
    next_try_ms  INTEGER NOT NULL DEFAULT 0,
    last_error   TEXT,
    ended_at     INTEGER
) STRICT;
CREATE INDEX standing_database_roles ON database_roles (server, state) WHERE state <> 'ended';
CREATE INDEX ended_database_roles ON database_roles (ended_at) WHERE state = 'ended';
-- For revocation lists of certificates.
CREATE INDEX ended_leases_by_kind ON leases (kind, ended_at) WHERE ended_at IS NOT NULL;
