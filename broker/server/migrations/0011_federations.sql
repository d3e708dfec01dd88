-- Trust domains that this one federates with. `bundle` is the document as it arrived; its sequence number never falls.
CREATE TABLE federations (
    id           TEXT PRIMARY KEY,
    tenant       TEXT NOT NULL REFERENCES tenants (id),
    trust_domain TEXT NOT NULL,
    url          TEXT NOT NULL,
    profile      TEXT NOT NULL,
    endpoint     TEXT,
    roots        TEXT,
    longest_age  INTEGER NOT NULL,
    author       TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    bundle       TEXT,
    sequence     INTEGER,
    fetched_at   INTEGER,
    changed_at   INTEGER,
    next_at      INTEGER NOT NULL,
    failures     INTEGER NOT NULL DEFAULT 0,
    error        TEXT,
    UNIQUE (tenant, trust_domain)
) STRICT;
