-- Budgets of the token exchange count what a guest had under other numbers: by its key, and by its image on its chip.
CREATE INDEX guests_by_key ON guests (tenant, tee_key);
CREATE INDEX guests_by_chip ON guests (tenant, chip) WHERE chip IS NOT NULL;
