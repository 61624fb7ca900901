-- The forks of a session are found by it.

-- +goose Up

-- The session that this one is a fork of, as its first record says; empty where
-- it is none. The parent of its past may be a fork of that one itself.
ALTER TABLE sessions ADD COLUMN forked_from text NOT NULL DEFAULT '' COLLATE "C";

UPDATE sessions s SET forked_from = coalesce(
	(SELECT convert_from(r.data, 'UTF8')::jsonb ->> 'from' FROM records r
		WHERE r.shard = s.shard AND r.project = s.project AND r.session = s.session AND r.seq = p.seq + 1 AND r.data IS NOT NULL),
	p.parent)
FROM pasts p
WHERE p.shard = s.shard AND p.project = s.project AND p.session = s.session AND p.parent IS NOT NULL;

CREATE INDEX sessions_forked ON sessions (project, forked_from, created_at, session) WHERE forked_from <> '';
