-- Whether guests may have their TPM keep the secret for reboots without the broker: for how many seconds and how many starts after
-- each release. Absent: they may not. The same for all versions of a name.
ALTER TABLE secrets ADD COLUMN offline_seconds INTEGER;
ALTER TABLE secrets ADD COLUMN offline_boots INTEGER;
