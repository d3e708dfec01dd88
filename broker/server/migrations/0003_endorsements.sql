-- What vendors published, as it was received. Every document is authenticated before it is written and again when it is read.
-- `number` is the CRL number, 40 hex digits. `change` grows with every write, so that a replica sees with one cheap read
-- what others fetched; a document about one machine never changes and is read when it is asked for.
CREATE TABLE endorsements (
    id           TEXT PRIMARY KEY,
    one_machine  INTEGER NOT NULL,
    body         BLOB NOT NULL,
    issuer_chain BLOB,
    source       TEXT NOT NULL,
    number       TEXT,
    valid_from   INTEGER NOT NULL,
    valid_until  INTEGER NOT NULL,
    fetched_at   INTEGER NOT NULL,
    change       INTEGER NOT NULL
) STRICT;
CREATE INDEX endorsements_by_change ON endorsements (one_machine, change);
