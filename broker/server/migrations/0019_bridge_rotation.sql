-- How old a version of a legacy secret may grow, what changes it in the legacy system, and the version for which somebody was told
-- that it is due and was not changed.
ALTER TABLE exceptions ADD COLUMN rotate_seconds INTEGER;
ALTER TABLE exceptions ADD COLUMN rotate_by TEXT;
ALTER TABLE exceptions ADD COLUMN rotation_told INTEGER;
