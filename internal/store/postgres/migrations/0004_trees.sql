-- The contents of files beside the log, and which of them records name.

-- +goose Up

-- Roots of trees that records name.
CREATE TABLE trees (
	shard   smallint NOT NULL,
	project text     NOT NULL COLLATE "C",
	session text     NOT NULL COLLATE "C",
	seq     bigint   NOT NULL,
	root    bytea    NOT NULL,
	PRIMARY KEY (shard, project, session, seq, root)
);
CREATE INDEX trees_root ON trees (project, root);

-- Pieces of contents. The shard is the first byte of the hash. data is packed
-- already.
CREATE TABLE pieces (
	shard   smallint    NOT NULL,
	project text        NOT NULL COLLATE "C",
	hash    bytea       NOT NULL,
	put_at  timestamptz NOT NULL,
	data    bytea       NOT NULL,
	PRIMARY KEY (shard, project, hash)
);
ALTER TABLE pieces ALTER data SET STORAGE EXTERNAL;
