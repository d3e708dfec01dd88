-- What was done, in a chain for each tenant: `hash` is over the record and the hash of the record before it
-- (docs/audit.md says over which bytes). Each row is written in the transaction that does what it records. The primary key
-- keeps a chain from ever having two records with one number.
CREATE TABLE audit_log (
    tenant   TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    kind     TEXT NOT NULL,
    body     TEXT NOT NULL,
    previous BLOB NOT NULL,
    hash     BLOB NOT NULL,
    PRIMARY KEY (tenant, sequence)
) STRICT, WITHOUT ROWID;

-- How far a chain was, signed with a key for this purpose.
CREATE TABLE audit_checkpoints (
    tenant   TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    token    TEXT NOT NULL,
    PRIMARY KEY (tenant, sequence)
) STRICT, WITHOUT ROWID;
