-- One release of one secret that the policies refuse, which administrators ask for and others approve. It is used once and lives
-- an hour at most. What is named, and who asked, is never changed.
CREATE TABLE break_glass (
    id           TEXT PRIMARY KEY,
    tenant       TEXT NOT NULL REFERENCES tenants (id),
    secret       TEXT NOT NULL,
    reason       TEXT NOT NULL,
    -- Either the workload that the guest has to match, or the launch measurement and the chip of one guest.
    workload     TEXT,
    measurement  TEXT,
    chip         TEXT,
    requested_by TEXT NOT NULL,
    fingerprint  BLOB NOT NULL,
    requested_at INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    needed       INTEGER NOT NULL CHECK (needed >= 2),
    used_at      INTEGER,
    used_by      TEXT,
    revoked_at   INTEGER,
    revoked_by   TEXT,
    CHECK (expires_at > requested_at AND expires_at <= requested_at + 3600),
    CHECK ((workload IS NULL) <> (measurement IS NULL))
) STRICT;
CREATE INDEX break_glass_by_secret ON break_glass (tenant, secret) WHERE used_at IS NULL AND revoked_at IS NULL;

-- One approval of a person, and one of a certificate.
CREATE TABLE break_glass_approvals (
    request     TEXT NOT NULL REFERENCES break_glass (id),
    person      TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    at          INTEGER NOT NULL,
    PRIMARY KEY (request, person),
    UNIQUE (request, fingerprint)
) STRICT, WITHOUT ROWID;

-- A policy that does not decide yet. For the grants in `enforced` it has to agree besides; for all others it is asked and what
-- it would have said is compared.
CREATE TABLE staged_policies (
    tenant     TEXT NOT NULL REFERENCES tenants (id),
    kind       TEXT NOT NULL,
    digest     TEXT NOT NULL,
    source     TEXT NOT NULL,
    enforced   TEXT NOT NULL,
    author     TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, kind)
) STRICT, WITHOUT ROWID;

-- How often a staged rule was compared with what was enforced, by subject: `evidence`, or a grant that exists.
CREATE TABLE shadow_counts (
    tenant   TEXT NOT NULL,
    rule     TEXT NOT NULL,
    subject  TEXT NOT NULL,
    compared INTEGER NOT NULL,
    differed INTEGER NOT NULL,
    PRIMARY KEY (tenant, rule, subject)
) STRICT, WITHOUT ROWID;

-- The newest differences.
CREATE TABLE shadow_differences (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant   TEXT NOT NULL,
    rule     TEXT NOT NULL,
    subject  TEXT NOT NULL,
    decision TEXT NOT NULL,
    at       INTEGER NOT NULL,
    was      TEXT NOT NULL,
    would_be TEXT NOT NULL,
    why      TEXT NOT NULL
) STRICT;
CREATE INDEX shadow_differences_by_rule ON shadow_differences (tenant, rule, sequence);
