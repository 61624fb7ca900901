-- Saved agents become one kind of object among others.

-- +goose Up
CREATE TABLE objects (
    num        INTEGER PRIMARY KEY,
    project    TEXT    NOT NULL,
    kind       TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    data       BLOB    NOT NULL,
    tree       BLOB    -- the root of a tree of blobs
) STRICT;

INSERT INTO objects (project, kind, id, version, created_at, updated_at, data)
SELECT project, 'agent', id, version, created_at, updated_at, data FROM agents;

DROP TABLE agents;

CREATE UNIQUE INDEX objects_by_id ON objects (project, kind, id);
CREATE INDEX objects_by_creation ON objects (project, kind, created_at, id);
