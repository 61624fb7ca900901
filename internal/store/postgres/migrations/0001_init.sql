-- The log and what stands beside it. Every table but agents has the shard as the
-- first column of its key, and no key spans shards, so that the tables can be
-- distributed by it. Text compares by bytes, as it does in the other store.

-- +goose Up
CREATE TABLE records (
	shard   smallint    NOT NULL,
	project text        NOT NULL COLLATE "C",
	session text        NOT NULL COLLATE "C",
	seq     bigint      NOT NULL,
	time    timestamptz NOT NULL,
	kind    text        NOT NULL,
	version smallint    NOT NULL,
	data    bytea,      -- NULL where it is a blob, or erased
	salt    bytea,      -- NULL once erased
	blob    bytea,      -- SHA-256 of the data that is kept as a blob
	digest  bytea       NOT NULL,
	hash    bytea       NOT NULL,
	PRIMARY KEY (shard, project, session, seq)
) WITH (toast_tuple_target = 8160); -- data up to the blob threshold stays in its row
ALTER TABLE records ALTER data SET STORAGE EXTERNAL;
CREATE INDEX records_blob ON records (project, blob) WHERE blob IS NOT NULL;

-- fillfactor leaves room for the next version of a row on the same page.
CREATE TABLE sessions (
	shard      smallint    NOT NULL,
	project    text        NOT NULL COLLATE "C",
	session    text        NOT NULL COLLATE "C",
	agent_id   text        NOT NULL COLLATE "C",
	status     text        NOT NULL,
	metadata   jsonb       NOT NULL,
	created_at timestamptz NOT NULL,
	updated_at timestamptz NOT NULL,
	wake_at    timestamptz,
	deleted    boolean     NOT NULL,
	PRIMARY KEY (shard, project, session)
) WITH (fillfactor = 60);
CREATE INDEX sessions_created ON sessions (project, created_at, session);
CREATE INDEX sessions_agent ON sessions (project, agent_id, created_at, session);
CREATE INDEX sessions_due ON sessions (shard, wake_at) WHERE wake_at IS NOT NULL;

-- The shard of a blob is the first byte of its hash. data is packed already.
CREATE TABLE blobs (
	shard      smallint    NOT NULL,
	project    text        NOT NULL COLLATE "C",
	hash       bytea       NOT NULL,
	data       bytea       NOT NULL,
	touched_at timestamptz NOT NULL,
	PRIMARY KEY (shard, project, hash)
);
ALTER TABLE blobs ALTER data SET STORAGE EXTERNAL;
CREATE INDEX blobs_touched ON blobs (touched_at);

CREATE TABLE leases (
	shard      smallint    NOT NULL PRIMARY KEY,
	owner      text        NOT NULL COLLATE "C", -- empty once released
	epoch      bigint      NOT NULL,
	expires_at timestamptz NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE agents (
	project    text        NOT NULL COLLATE "C",
	id         text        NOT NULL COLLATE "C",
	version    bigint      NOT NULL,
	created_at timestamptz NOT NULL,
	updated_at timestamptz NOT NULL,
	data       bytea       NOT NULL,
	PRIMARY KEY (project, id)
);
CREATE INDEX agents_created ON agents (project, created_at, id);
