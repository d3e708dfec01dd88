-- Qualified names (hex) of attestation keys that were revoked: what a quote says of its signer in a field that the TPM signs,
-- whatever public area or certificate the evidence brings.
CREATE TABLE revoked_signers (
    tenant         TEXT NOT NULL REFERENCES tenants (id),
    qualified_name TEXT NOT NULL,
    PRIMARY KEY (tenant, qualified_name)
) STRICT, WITHOUT ROWID;
