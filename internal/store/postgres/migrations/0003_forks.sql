-- Sessions that have the past of another.

-- +goose Up

-- true where the record's own session has forgotten it, and a fork may still
-- have it.
ALTER TABLE records ADD COLUMN kept boolean;
CREATE INDEX records_kept ON records (shard, project, session) WHERE kept;

-- Of sessions that are forks, or have forgotten records. erased is the sequence
-- number up to which the session has, those of its past included.
CREATE TABLE pasts (
	shard   smallint NOT NULL,
	project text     NOT NULL COLLATE "C",
	session text     NOT NULL COLLATE "C",
	parent  text     COLLATE "C", -- NULL for one that is no fork
	seq     bigint   NOT NULL,    -- of the parent's last record in the past
	erased  bigint   NOT NULL,
	PRIMARY KEY (shard, project, session)
);

-- In the shard of a session: that a fork has its records over erased up to
-- claimed. seq is where the fork was made.
CREATE TABLE forks (
	shard   smallint    NOT NULL,
	project text        NOT NULL COLLATE "C",
	session text        NOT NULL COLLATE "C",
	seq     bigint      NOT NULL,
	fork    text        NOT NULL COLLATE "C",
	claimed bigint      NOT NULL,
	erased  bigint      NOT NULL,
	made_at timestamptz NOT NULL,
	PRIMARY KEY (shard, project, session, seq, fork)
);
