-- +goose Up

-- Ids are stored once, and rows name each other by number.
CREATE TABLE projects (
    num INTEGER PRIMARY KEY,
    id  TEXT NOT NULL UNIQUE
) STRICT;

-- A session is here from its first record on. created_at is NULL until an append
-- brings an index row. Times are microseconds since 1970 in UTC.
CREATE TABLE sessions (
    num        INTEGER PRIMARY KEY,
    project    INTEGER NOT NULL,
    id         TEXT    NOT NULL,
    shard      INTEGER NOT NULL,
    status     TEXT,
    metadata   TEXT,
    updated_at INTEGER,
    agent_id   TEXT,
    created_at INTEGER,
    wake_at    INTEGER,
    deleted    INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE UNIQUE INDEX sessions_by_id ON sessions (project, id);
CREATE INDEX sessions_by_creation ON sessions (project, created_at, id) WHERE created_at IS NOT NULL AND deleted = 0;
CREATE INDEX sessions_by_agent ON sessions (project, agent_id, created_at, id) WHERE created_at IS NOT NULL AND deleted = 0 AND agent_id <> '';
CREATE INDEX sessions_by_wake ON sessions (wake_at) WHERE wake_at IS NOT NULL;

-- Records lie in the order of their arrival and not session by session, so that
-- one commit of many sessions fills the last pages and does not touch one page a
-- session. Rows are never deleted: the highest id is their number.
CREATE TABLE records (
    id      INTEGER PRIMARY KEY,
    session INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    time    INTEGER NOT NULL,
    kind    TEXT    NOT NULL,
    version INTEGER NOT NULL,
    salt    BLOB,
    digest  BLOB    NOT NULL,
    hash    BLOB    NOT NULL,
    blob    INTEGER,
    data    BLOB
) STRICT;

CREATE UNIQUE INDEX records_by_seq ON records (session, seq);
CREATE INDEX records_by_blob ON records (blob) WHERE blob IS NOT NULL;

CREATE TABLE blobs (
    id      INTEGER PRIMARY KEY,
    project INTEGER NOT NULL,
    hash    BLOB    NOT NULL,
    data    BLOB    NOT NULL
) STRICT;

CREATE UNIQUE INDEX blobs_by_hash ON blobs (project, hash);

-- Blobs that no record names, and since when.
CREATE TABLE unnamed_blobs (
    blob  INTEGER PRIMARY KEY,
    since INTEGER NOT NULL
) STRICT;

CREATE TABLE agents (
    num        INTEGER PRIMARY KEY,
    project    TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    data       BLOB    NOT NULL
) STRICT;

CREATE UNIQUE INDEX agents_by_id ON agents (project, id);
CREATE INDEX agents_by_creation ON agents (project, created_at, id);

CREATE TABLE leases (
    shard      INTEGER PRIMARY KEY,
    owner      TEXT    NOT NULL,
    epoch      INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

-- One row that Ping writes, to know that writing works.
CREATE TABLE pings (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL
) STRICT;
