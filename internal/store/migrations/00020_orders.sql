-- Orders are shown below their root only: indexes that lists of jobs are read by leave them out, except while they are open where
-- open jobs are counted or set back. The few reserved serials are found by the index that keeps a request from having two.
DROP INDEX jobs_created;
DROP INDEX jobs_updated;
DROP INDEX jobs_status;
DROP INDEX jobs_type;
CREATE INDEX jobs_created ON jobs (created_at, id) WHERE kind <> 'order';
CREATE INDEX jobs_updated ON jobs (updated_at, id) WHERE kind <> 'order' OR status IN ('Pending', 'AwaitingCSR', 'AwaitingApproval', 'Running');
CREATE INDEX jobs_status ON jobs (status, created_at, id) WHERE kind <> 'order' OR status IN ('Pending', 'AwaitingCSR', 'AwaitingApproval', 'Running');
CREATE INDEX jobs_type ON jobs (type, created_at, id) WHERE kind <> 'order';
DROP INDEX IF EXISTS serials_reserved;
