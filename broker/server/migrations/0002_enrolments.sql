-- Attestation keys that were proven by a credential, or pinned by the operator. Public keys only; nothing here is secret.
CREATE TABLE enrolments (
    tenant       TEXT NOT NULL REFERENCES tenants (id),
    -- Name of the attestation key, hex.
    ak_name      TEXT NOT NULL,
    -- Name (hex) and TPMT_PUBLIC of the endorsement key that was proven; pinned keys have none.
    ek_name      TEXT,
    ek_public    BLOB,
    provenance   TEXT NOT NULL,
    -- What is known of the TPM, JSON for people.
    details      TEXT NOT NULL,
    owner        TEXT NOT NULL,
    reason       TEXT NOT NULL,
    state        TEXT NOT NULL,
    requested_at INTEGER NOT NULL,
    approved_by  TEXT,
    enrolled_at  INTEGER,
    revoked_by   TEXT,
    revoked_at   INTEGER,
    PRIMARY KEY (tenant, ak_name)
) STRICT, WITHOUT ROWID;
CREATE INDEX enrolments_by_ek ON enrolments (tenant, ek_name);
CREATE INDEX enrolments_by_state ON enrolments (tenant, state);

-- Credentials that wait for their answer. The secret itself is not here, only its digest.
CREATE TABLE pending_enrolments (
    id            TEXT PRIMARY KEY,
    tenant        TEXT NOT NULL REFERENCES tenants (id),
    secret_digest BLOB NOT NULL,
    ak_name       TEXT NOT NULL,
    ek_name       TEXT NOT NULL,
    ek_public     BLOB NOT NULL,
    provenance    TEXT NOT NULL,
    details       TEXT NOT NULL,
    expires_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX pending_enrolments_by_expiry ON pending_enrolments (expires_at);

-- The highest counters that each attestation key was seen with: a TPM that was rolled back or cloned falls behind them.
CREATE TABLE tpm_counters (
    tenant        TEXT NOT NULL REFERENCES tenants (id),
    -- SHA-256 of the attestation key, hex.
    ak_key        TEXT NOT NULL,
    reset_count   INTEGER NOT NULL,
    restart_count INTEGER NOT NULL,
    clock         INTEGER NOT NULL,
    seen_at       INTEGER NOT NULL,
    PRIMARY KEY (tenant, ak_key)
) STRICT, WITHOUT ROWID;
