-- A DPoP proof in here was used: SHA-256 over its key's thumbprint and its `jti`. The primary key is what makes "once"
-- true across tasks, processes and replicas. Only proofs of attested guests get here, so many per guest and second as the
-- rate limit lets through, for as long as a proof is fresh.
CREATE TABLE used_proofs (
    proof      BLOB PRIMARY KEY,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX used_proofs_by_expiry ON used_proofs (expires_at);

-- Budgets count what a guest exchanged for in a time.
CREATE INDEX leases_by_guest_and_kind ON leases (guest, kind, issued_at);
