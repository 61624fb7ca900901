-- The forks of a session are found by it.

-- +goose Up

-- The session that this one is a fork of; NULL where it is none.
ALTER TABLE sessions ADD COLUMN forked_from TEXT;

UPDATE sessions SET forked_from = (SELECT p.id FROM sessions p WHERE p.num = sessions.parent) WHERE parent IS NOT NULL;

CREATE INDEX sessions_by_fork ON sessions (project, forked_from, created_at, id)
    WHERE created_at IS NOT NULL AND deleted = 0 AND forked_from IS NOT NULL;
