-- From when on a key signs. It is published before, so that relying parties know it when they see its first signature.
ALTER TABLE protected_keys ADD COLUMN active_at INTEGER NOT NULL DEFAULT 0;
