-- SQLite's dialect of every statement on jobs, by name. Those that must stay O(rows touched) name
-- their index: should a later migration drop it, they fail loudly instead of scanning.

-- name: known_keys
SELECT tenant, jobs.key, job_id, body_hash FROM json_each(:keys) AS wanted
CROSS JOIN jobs INDEXED BY jobs_key
WHERE jobs.key IS NOT NULL
  AND jobs.tenant = json_extract(wanted.value, '$[0]')
  AND jobs.key = json_extract(wanted.value, '$[1]');

-- name: last_seq
SELECT coalesce(max(seq), 0) FROM jobs;

-- name: insert_job
INSERT INTO jobs (seq, job_id, key, body_hash, state, endpoint, family, batch,
                  max_attempts, run_at, deadline_at, created_at, engine, tenant)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: insert_body
INSERT INTO bodies (seq, body) VALUES (?, ?);

-- name: waiting_tenants
SELECT tenant FROM counts WHERE state = 'available' AND engine = :engine AND jobs > 0;

-- name: claimable
SELECT seq FROM jobs INDEXED BY jobs_tenant
WHERE state = 'available' AND engine = :engine AND tenant = :tenant ORDER BY seq LIMIT :count;

-- name: claimable_of_family
SELECT seq FROM jobs INDEXED BY jobs_tenant_family
WHERE state = 'available' AND engine = :engine AND tenant = :tenant AND family = :family
ORDER BY seq LIMIT :count;

-- name: claim
UPDATE jobs
SET state = 'running', attempts = attempts + 1,
    lease_id = lower(hex(randomblob(16))), lease_until = :lease_until,
    started_at = coalesce(started_at, :now)
WHERE seq IN (SELECT value FROM json_each(:seqs));

-- name: claimed
SELECT * FROM jobs JOIN bodies USING (seq) LEFT JOIN checkpoints USING (seq)
WHERE seq IN (SELECT value FROM json_each(:seqs))
ORDER BY seq;

-- name: renew
UPDATE jobs SET lease_until = :lease_until
WHERE job_id = :id AND lease_id = :lease_id
RETURNING cancel_requested;

-- name: complete
UPDATE jobs
SET state = 'completed', lease_id = NULL, lease_until = NULL, finished_at = :now,
    error_code = NULL, error_message = NULL,
    prompt_tokens = :prompt_tokens, output_tokens = :output_tokens, cached_tokens = :cached_tokens
WHERE job_id = :id AND lease_id = :lease_id
RETURNING seq;

-- name: insert_result
INSERT INTO results (seq, result) VALUES (:seq, :result);

-- name: fail
UPDATE jobs
SET state = iif(:state = 'retryable' AND cancel_requested, 'cancelled', :state),
    lease_id = NULL, lease_until = NULL,
    finished_at = iif(:state = 'retryable' AND NOT cancel_requested, NULL, :now),
    run_at = coalesce(:run_at, run_at), error_code = :code, error_message = :message
WHERE job_id = :id AND lease_id = :lease_id
RETURNING seq;

-- name: release
UPDATE jobs
SET state = iif(cancel_requested, 'cancelled', 'available'),
    lease_id = NULL, lease_until = NULL, finished_at = iif(cancel_requested, :now, NULL),
    attempts = attempts - 1, preemptions = preemptions + :preempted
WHERE job_id = :id AND lease_id = :lease_id
RETURNING seq;

-- name: keep_checkpoint
INSERT OR REPLACE INTO checkpoints
SELECT seq, :text, :output_tokens, :prompt_tokens FROM jobs WHERE seq = :seq AND state = 'available';

-- name: drop_checkpoint
DELETE FROM checkpoints WHERE seq = :seq;

-- name: finish_cancel
UPDATE jobs
SET state = 'cancelled', lease_id = NULL, lease_until = NULL, finished_at = :now
WHERE job_id = :id AND lease_id = :lease_id AND cancel_requested
RETURNING seq;

-- name: rescue
UPDATE jobs INDEXED BY jobs_lease
SET state = iif(cancel_requested, 'cancelled', 'available'),
    lease_id = NULL, lease_until = NULL, finished_at = iif(cancel_requested, :now, NULL),
    attempts = attempts - 1
WHERE lease_until <= :now;

-- name: promote
UPDATE jobs INDEXED BY jobs_due
SET state = 'available'
WHERE state IN ('scheduled', 'retryable') AND run_at <= :now;

-- name: expire
UPDATE jobs INDEXED BY jobs_deadline
SET state = 'discarded', finished_at = :now,
    error_code = 'deadline_exceeded', error_message = :message
WHERE state IN ('scheduled', 'available', 'retryable')
  AND deadline_at IS NOT NULL AND deadline_at <= :now
RETURNING seq, job_id;

-- name: prune
DELETE FROM jobs WHERE seq IN (
    SELECT seq FROM jobs INDEXED BY jobs_finished
    WHERE finished_at IS NOT NULL AND finished_at < :before
      -- A batch that goes on has not written their results into its output yet.
      AND (batch IS NULL OR batch NOT IN (SELECT batch_id FROM batches WHERE is_open = 1))
    ORDER BY finished_at LIMIT :limit
);

-- name: cancel
UPDATE jobs SET state = 'cancelled', finished_at = :now WHERE seq = :seq RETURNING *;

-- name: request_cancel
UPDATE jobs SET cancel_requested = 1 WHERE seq = :seq RETURNING *;

-- name: retry
UPDATE jobs
SET state = 'available', attempts = 0, preemptions = 0, cancel_requested = 0,
    run_at = NULL, started_at = NULL, finished_at = NULL,
    deadline_at = iif(deadline_at <= :now, NULL, deadline_at),
    error_code = NULL, error_message = NULL
WHERE seq = :seq
RETURNING *;

-- name: get
SELECT * FROM jobs WHERE job_id = :id;

-- name: result
SELECT result FROM jobs LEFT JOIN results USING (seq) WHERE job_id = :id;

-- name: body
SELECT body FROM jobs JOIN bodies USING (seq) WHERE job_id = :id;

-- name: delete
DELETE FROM jobs WHERE seq = :seq;

-- name: counts
SELECT state, sum(jobs) AS jobs FROM counts GROUP BY state;

-- name: counts_by_engine
SELECT engine, state, jobs FROM counts;

-- name: tenant_counts
SELECT state, sum(jobs) AS jobs FROM counts WHERE tenant = :tenant GROUP BY state;

-- name: waiting_tenants
SELECT tenant, jobs FROM counts WHERE state = 'available' AND engine = :engine AND jobs > 0;

-- name: tenant_batch_counts
SELECT state, count(*) AS jobs FROM jobs INDEXED BY jobs_batch
WHERE batch = :batch AND tenant = :tenant GROUP BY state;

-- name: batch_counts
SELECT state, count(*) AS jobs FROM jobs INDEXED BY jobs_batch WHERE batch = :batch GROUP BY state;

-- name: add_file
INSERT INTO files (file_id, tenant, purpose, filename, bytes, created_at, expires_at)
VALUES (:file_id, :tenant, :purpose, :filename, :bytes, :created_at, :expires_at);

-- name: show_file
UPDATE files
SET purpose = :purpose, filename = :filename, bytes = :bytes, expires_at = :expires_at, is_ready = 1
WHERE file_id = :file_id
RETURNING seq;

-- name: file
SELECT * FROM files WHERE file_id = :file_id AND is_ready = 1;

-- name: hide_file
UPDATE files SET is_ready = 0 WHERE file_id = :file_id;

-- name: is_file_read
SELECT batch_id FROM batches INDEXED BY batches_input
WHERE is_open = 1 AND input_file_id = :file_id LIMIT 1;

-- name: hide_expired_files
UPDATE files INDEXED BY files_expiry SET is_ready = 0
WHERE is_ready = 1 AND expires_at IS NOT NULL AND expires_at <= :now
  AND file_id NOT IN (SELECT input_file_id FROM batches WHERE is_open = 1)
RETURNING file_id;

-- name: hidden_files
SELECT file_id FROM files INDEXED BY files_hidden WHERE is_ready = 0;

-- name: is_file_hidden
SELECT 1 FROM files WHERE file_id = :file_id AND is_ready = 0;

-- name: drop_file
DELETE FROM files WHERE file_id = :file_id AND is_ready = 0;

-- name: add_batch
INSERT INTO batches (batch_id, tenant, status, input_file_id, is_open, record)
VALUES (:batch_id, :tenant, :status, :input_file_id, :is_open, :record);

-- name: batch
SELECT * FROM batches WHERE batch_id = :batch_id;

-- name: open_batches
SELECT record FROM batches INDEXED BY batches_open WHERE is_open = 1 ORDER BY seq;

-- name: change_batch
UPDATE batches SET status = :status, is_open = :is_open, record = :record
WHERE batch_id = :batch_id;

-- name: batches_per_status
SELECT status, count(*) AS batches FROM batches INDEXED BY batches_status GROUP BY status;

-- name: line_ends
SELECT jobs.*, result FROM jobs LEFT JOIN results USING (seq)
WHERE key IN (SELECT value FROM json_each(:keys)) AND batch = :batch;

-- name: cancel_waiting
UPDATE jobs SET state = 'cancelled', finished_at = :now
WHERE seq IN (
    SELECT seq FROM jobs INDEXED BY jobs_batch
    WHERE batch = :batch AND state IN ('scheduled', 'available', 'retryable') LIMIT :limit
)
RETURNING job_id;
