-- A staged version is one that a guest is changing to: `staged` until the guest has put it to use, and not what the name alone
-- stands for. One at a time.
ALTER TABLE secrets ADD COLUMN staged INTEGER NOT NULL DEFAULT 0;
-- Who may change the secret: the operator alone, or the attested guest that has it as well.
ALTER TABLE secrets ADD COLUMN rotation TEXT NOT NULL DEFAULT 'operator';
CREATE UNIQUE INDEX secrets_staged ON secrets (tenant, name) WHERE staged = 1;
