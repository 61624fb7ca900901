-- Saved agents become one kind of object among others. The table is changed and
-- not made again, so that it stays distributed as it is.

-- +goose Up
ALTER TABLE agents RENAME TO objects;
ALTER TABLE objects ADD COLUMN kind text COLLATE "C" NOT NULL DEFAULT 'agent';
ALTER TABLE objects ALTER COLUMN kind DROP DEFAULT;
ALTER TABLE objects ADD COLUMN tree bytea; -- the root of a tree of blobs
ALTER TABLE objects DROP CONSTRAINT agents_pkey;
ALTER TABLE objects ADD CONSTRAINT objects_pkey PRIMARY KEY (project, kind, id);
DROP INDEX agents_created;
CREATE INDEX objects_created ON objects (project, kind, created_at, id);
