-- Long-term memory: records space by space, and the pieces of the spaces'
-- indexes.

-- +goose Up
CREATE TABLE memory_spaces (
    num     INTEGER PRIMARY KEY,
    project INTEGER NOT NULL,
    name    TEXT    NOT NULL,
    change  INTEGER NOT NULL,
    epoch   INTEGER NOT NULL,
    records INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX memory_spaces_by_name ON memory_spaces (project, name);

-- Actors and sessions that records name. One that none names any more is deleted.
CREATE TABLE memory_names (
    num     INTEGER PRIMARY KEY,
    project INTEGER NOT NULL,
    name    TEXT    NOT NULL
) STRICT;

CREATE UNIQUE INDEX memory_names_by_name ON memory_names (project, name);

-- What made vectors.
CREATE TABLE memory_models (
    num  INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

-- num is the number of the space, times 2^32, and that of the record in it, so
-- that the records of a space lie together. namespace is what follows the name of
-- the space. What is empty is NULL.
CREATE TABLE memories (
    num           INTEGER PRIMARY KEY,
    space         INTEGER NOT NULL GENERATED ALWAYS AS (num >> 32) VIRTUAL,
    change        INTEGER NOT NULL,
    project       INTEGER NOT NULL,
    id            BLOB    NOT NULL,
    strategy      INTEGER NOT NULL,
    origin        INTEGER NOT NULL,
    actor         INTEGER,
    session       INTEGER,
    model         INTEGER,
    recorded_at   INTEGER NOT NULL,
    valid_from    INTEGER,
    valid_to      INTEGER,
    superseded_at INTEGER,
    expires_at    INTEGER,
    used_at       INTEGER,
    uses          INTEGER NOT NULL,
    confidence    REAL,
    supersedes    BLOB,
    superseded_by BLOB,
    namespace     TEXT,
    metadata      TEXT,
    source        BLOB,
    vector        BLOB,
    text          TEXT    NOT NULL
) STRICT;

CREATE INDEX memories_by_change ON memories (space, change);
CREATE INDEX memories_by_id ON memories (id);
CREATE INDEX memories_by_time ON memories (project, recorded_at);
CREATE INDEX memories_by_actor ON memories (actor) WHERE actor IS NOT NULL;
CREATE INDEX memories_by_session ON memories (session) WHERE session IS NOT NULL;
CREATE INDEX memories_by_expiry ON memories (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE memory_segments (
    num   INTEGER PRIMARY KEY,
    space INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last  INTEGER NOT NULL,
    size  INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX memory_segments_by_range ON memory_segments (space, first);

-- num is the number of the segment, times 4096, and the place of the part in it.
CREATE TABLE memory_segment_data (
    num  INTEGER PRIMARY KEY,
    data BLOB NOT NULL
) STRICT;

-- How often something was forgotten, and up to where none of it is left in gaps of
-- pages.
CREATE TABLE memory_forgotten (
    id       INTEGER PRIMARY KEY,
    count    INTEGER NOT NULL,
    scrubbed INTEGER NOT NULL
) STRICT;
