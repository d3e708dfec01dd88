-- Whether the client of an exception may come with a join token, and the tokens: of each the SHA-256 alone. One is used once, by
-- one key, and is of no use for anything but its exception.
ALTER TABLE exceptions ADD COLUMN joins INTEGER NOT NULL DEFAULT 0;
CREATE TABLE join_tokens (
    digest     BLOB PRIMARY KEY,
    tenant     TEXT NOT NULL REFERENCES tenants (id),
    exception  TEXT NOT NULL REFERENCES exceptions (id),
    -- The pin of the only key that may use it; NULL: the first that comes.
    pin        TEXT,
    author     TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at    INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX join_tokens_by_exception ON join_tokens (exception);
