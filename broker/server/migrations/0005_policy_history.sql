-- The version whose text a roll-back took up again; null when the text was given.
ALTER TABLE policies ADD COLUMN restores INTEGER;

-- Decisions are listed, replayed and dropped by age.
CREATE INDEX decisions_by_time ON decisions (decided_at);
