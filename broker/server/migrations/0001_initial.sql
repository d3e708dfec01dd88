-- Times are seconds since the Unix epoch. Nothing secret stands here in the clear: `envelope` columns hold AES-256-GCM
-- envelopes whose associated data names the row.

CREATE TABLE tenants (
    id         TEXT PRIMARY KEY,
    created_at INTEGER NOT NULL
) STRICT;
INSERT INTO tenants (id, created_at) VALUES ('default', 0);

-- Who may administer: the SHA-256 of a client certificate that `countersign init` issued.
CREATE TABLE administrators (
    fingerprint BLOB PRIMARY KEY,
    name        TEXT NOT NULL,
    role        TEXT NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT;

-- The keys that all replicas share. Retired keys stay: what they signed must remain verifiable until it expires.
CREATE TABLE protected_keys (
    id         TEXT PRIMARY KEY,
    purpose    TEXT NOT NULL,
    envelope   BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    retired_at INTEGER
) STRICT;

-- A deleted version keeps its row without its content, so that its number is never used again.
CREATE TABLE secrets (
    tenant     TEXT NOT NULL REFERENCES tenants (id),
    name       TEXT NOT NULL,
    version    INTEGER NOT NULL,
    envelope   BLOB,
    workloads  TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    deleted_at INTEGER,
    PRIMARY KEY (tenant, name, version)
) STRICT, WITHOUT ROWID;

-- One row for each set of a document. Its id and version are used once.
CREATE TABLE reference_sets (
    tenant     TEXT NOT NULL REFERENCES tenants (id),
    id         TEXT NOT NULL,
    version    INTEGER NOT NULL,
    definition TEXT NOT NULL,
    author     TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    retired_at INTEGER,
    PRIMARY KEY (tenant, id, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE policies (
    tenant     TEXT NOT NULL REFERENCES tenants (id),
    kind       TEXT NOT NULL,
    version    INTEGER NOT NULL,
    digest     TEXT NOT NULL,
    source     TEXT NOT NULL,
    author     TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, kind, version)
) STRICT, WITHOUT ROWID;

-- Counts every change of policies and reference values, so that a replica sees with one cheap read that it must reload.
CREATE TABLE rulebook_generation (
    only_row   INTEGER PRIMARY KEY CHECK (only_row = 1),
    generation INTEGER NOT NULL
) STRICT;
INSERT INTO rulebook_generation (only_row, generation) VALUES (1, 1);

-- The highest CRL number that was seen of each issuer, 40 hex digits: a list once seen is never replaced by an older one.
CREATE TABLE crl_floors (
    issuer TEXT PRIMARY KEY,
    number TEXT NOT NULL
) STRICT;

-- A nonce in here was answered. The primary key is what makes "exactly once" true across tasks, processes and replicas.
CREATE TABLE consumed_nonces (
    nonce      BLOB PRIMARY KEY,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX consumed_nonces_by_expiry ON consumed_nonces (expires_at);

CREATE TABLE decisions (
    sequence      INTEGER PRIMARY KEY AUTOINCREMENT,
    id            TEXT NOT NULL UNIQUE,
    tenant        TEXT NOT NULL REFERENCES tenants (id),
    decided_at    INTEGER NOT NULL,
    outcome       TEXT NOT NULL,
    code          TEXT,
    authenticated INTEGER NOT NULL,
    record        TEXT NOT NULL
) STRICT;
CREATE INDEX decisions_by_authenticity ON decisions (authenticated, sequence);

CREATE TABLE leases (
    id          TEXT PRIMARY KEY,
    tenant      TEXT NOT NULL REFERENCES tenants (id),
    decision_id TEXT NOT NULL REFERENCES decisions (id),
    kind        TEXT NOT NULL,
    name        TEXT NOT NULL,
    version     INTEGER NOT NULL,
    issued_at   INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX leases_by_decision ON leases (decision_id);
