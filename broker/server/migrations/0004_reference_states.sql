-- The life of a reference set: proposed -> active -> retiring (retired_at) -> revoked, and who said so.
ALTER TABLE reference_sets ADD COLUMN activated_at INTEGER;
ALTER TABLE reference_sets ADD COLUMN revoked_at INTEGER;
-- What it was read from, and whose signature vouched for that.
ALTER TABLE reference_sets ADD COLUMN source TEXT NOT NULL DEFAULT 'document';
ALTER TABLE reference_sets ADD COLUMN signer TEXT;

-- Every change of a set, never changed itself. `digest` is SHA-256 of the definition, lower-case hex.
CREATE TABLE reference_history (
    sequence     INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant       TEXT NOT NULL REFERENCES tenants (id),
    id           TEXT NOT NULL,
    version      INTEGER NOT NULL,
    changed_at   INTEGER NOT NULL,
    change       TEXT NOT NULL,
    effective_at INTEGER,
    author       TEXT NOT NULL,
    reason       TEXT,
    digest       TEXT NOT NULL,
    leases_ended INTEGER NOT NULL,
    FOREIGN KEY (tenant, id, version) REFERENCES reference_sets (tenant, id, version)
) STRICT;
CREATE INDEX reference_history_by_set ON reference_history (tenant, id, version, sequence);

-- Which sets an affirmed attestation rests on: revoking one ends its leases.
CREATE TABLE decision_reference_sets (
    decision_id TEXT NOT NULL REFERENCES decisions (id),
    tenant      TEXT NOT NULL,
    set_id      TEXT NOT NULL,
    version     INTEGER NOT NULL,
    PRIMARY KEY (decision_id, set_id, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX decision_reference_sets_by_set ON decision_reference_sets (tenant, set_id, version);

-- A lease that ended before it expired, and why.
ALTER TABLE leases ADD COLUMN ended_at INTEGER;
ALTER TABLE leases ADD COLUMN end_reason TEXT;
