-- The waiting jobs of one family in claim order: jobs with one template run next to each other, so
-- that the engine finds their common prefix cached. Only what may be claimed is in it.
CREATE INDEX jobs_family ON jobs (family) WHERE state = 'available';
