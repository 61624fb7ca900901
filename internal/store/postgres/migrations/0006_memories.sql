-- Long-term memory: records space by space, and the pieces of the spaces'
-- indexes. The shard is that of the space.

-- +goose Up

-- Projects, and what made vectors. They are few and stay.
CREATE TABLE memory_names (
	num  int  NOT NULL PRIMARY KEY,
	name text NOT NULL COLLATE "C" UNIQUE
);

CREATE TABLE memory_spaces (
	shard   smallint NOT NULL,
	num     int      NOT NULL,
	change  int      NOT NULL,
	epoch   int      NOT NULL,
	records int      NOT NULL,
	project text     NOT NULL COLLATE "C",
	name    text     NOT NULL COLLATE "C",
	PRIMARY KEY (shard, num),
	UNIQUE (shard, project, name)
) WITH (fillfactor = 50);
CREATE INDEX memory_spaces_name ON memory_spaces (project, name);

-- The columns are in an order that leaves no gaps between them. namespace is what
-- follows the name of the space. What is empty is NULL.
CREATE TABLE memories (
	recorded_at   timestamptz NOT NULL,
	valid_from    timestamptz,
	valid_to      timestamptz,
	superseded_at timestamptz,
	expires_at    timestamptz,
	used_at       timestamptz,
	confidence    float8,
	uses          bigint,
	space         int         NOT NULL,
	num           int         NOT NULL,
	change        int         NOT NULL,
	project       int         NOT NULL,
	model         int,
	shard         smallint    NOT NULL,
	strategy      smallint    NOT NULL,
	origin        smallint    NOT NULL,
	id            uuid        NOT NULL,
	supersedes    uuid,
	superseded_by uuid,
	actor         text        COLLATE "C",
	session       text        COLLATE "C",
	namespace     text        COLLATE "C",
	metadata      jsonb,
	source        bytea,
	vector        bytea,
	text          text        NOT NULL COLLATE "C",
	PRIMARY KEY (shard, space, num)
);
CREATE INDEX memories_change ON memories (shard, space, change);
CREATE INDEX memories_id ON memories (shard, id);
CREATE INDEX memories_recorded ON memories (project, recorded_at);
CREATE INDEX memories_actor ON memories (project, actor) WHERE actor IS NOT NULL;
CREATE INDEX memories_session ON memories (project, session) WHERE session IS NOT NULL;
CREATE INDEX memories_expiry ON memories (expires_at) WHERE expires_at IS NOT NULL;

-- A segment is as many rows as it has parts.
CREATE TABLE memory_segments (
	size  bigint   NOT NULL, -- of all parts
	space int      NOT NULL,
	first int      NOT NULL,
	last  int      NOT NULL,
	shard smallint NOT NULL,
	part  smallint NOT NULL,
	data  bytea    NOT NULL,
	PRIMARY KEY (shard, space, first, part)
);
ALTER TABLE memory_segments ALTER data SET STORAGE EXTERNAL;
