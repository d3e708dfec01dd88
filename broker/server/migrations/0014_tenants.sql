-- Keys and administrators belong to a tenant; so far there was one.

-- A certificate counts for those tenants that registered it, each by itself.
CREATE TABLE administrators_of_tenants (
    tenant      TEXT NOT NULL REFERENCES tenants (id),
    -- SHA-256 of a client certificate that the administrators' CA issued.
    fingerprint BLOB NOT NULL,
    name        TEXT NOT NULL,
    role        TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    removed_at  INTEGER,
    PRIMARY KEY (tenant, fingerprint)
) STRICT, WITHOUT ROWID;
INSERT INTO administrators_of_tenants (tenant, fingerprint, name, role, created_at, removed_at)
    SELECT 'default', fingerprint, name, role, created_at, removed_at FROM administrators;
DROP TABLE administrators;
ALTER TABLE administrators_of_tenants RENAME TO administrators;
CREATE UNIQUE INDEX live_administrators_by_name ON administrators (tenant, name) WHERE removed_at IS NULL;

-- Retired keys stay: what they signed must remain verifiable until it expires. An envelope opens for its tenant only.
CREATE TABLE keys_of_tenants (
    tenant     TEXT NOT NULL REFERENCES tenants (id),
    id         TEXT NOT NULL,
    purpose    TEXT NOT NULL,
    envelope   BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    active_at  INTEGER NOT NULL,
    retired_at INTEGER,
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;
INSERT INTO keys_of_tenants (tenant, id, purpose, envelope, created_at, active_at, retired_at)
    SELECT 'default', id, purpose, envelope, created_at, active_at, retired_at FROM protected_keys;
DROP TABLE protected_keys;
ALTER TABLE keys_of_tenants RENAME TO protected_keys;

-- Each tenant keeps so many decisions: one with many pushes nobody else's out.
DROP INDEX decisions_by_authenticity;
CREATE INDEX decisions_by_tenant ON decisions (tenant, sequence);
CREATE INDEX unauthenticated_decisions ON decisions (tenant, sequence) WHERE authenticated = 0;
