-- The sessions with an actor are found by it.

-- +goose Up

-- What stands for whom the session is with; empty where that is nobody.
ALTER TABLE sessions ADD COLUMN actor text NOT NULL DEFAULT '' COLLATE "C";

CREATE INDEX sessions_actor ON sessions (project, actor, created_at, session) WHERE actor <> '';
