-- The sessions with an actor are found by it.

-- +goose Up

-- What stands for whom the session is with; NULL where that is nobody.
ALTER TABLE sessions ADD COLUMN actor TEXT;

CREATE INDEX sessions_by_actor ON sessions (project, actor, created_at, id)
    WHERE created_at IS NOT NULL AND deleted = 0 AND actor IS NOT NULL;
