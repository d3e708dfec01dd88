-- X.509-SVIDs that may still verify, so that those of ended leases can be told in revocation lists. A renewed lease has several.
CREATE TABLE svid_certificates (
    serial     BLOB PRIMARY KEY,
    authority  TEXT NOT NULL,
    lease      TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX svid_certificates_by_authority ON svid_certificates (authority, lease);
CREATE INDEX svid_certificates_by_expiry ON svid_certificates (expires_at);

-- The number of the newest revocation list, of whatever CA: taken in the transaction that reads what the list says.
CREATE TABLE revocation_lists (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    number   INTEGER NOT NULL
) STRICT;
INSERT INTO revocation_lists (only_row, number) VALUES (1, 0);
