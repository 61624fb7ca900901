-- Sessions that have the past of another.

-- +goose Up

-- A fork's records begin after parent_seq of the session parent, which is the
-- one that wrote that record. erased is the sequence number up to which a session
-- has forgotten its records, those of its past included.
ALTER TABLE sessions ADD COLUMN parent INTEGER;
ALTER TABLE sessions ADD COLUMN parent_seq INTEGER;
ALTER TABLE sessions ADD COLUMN erased INTEGER NOT NULL DEFAULT 0;

-- Records that their own session has forgotten, and a fork still had when it did.
CREATE TABLE kept (
    session INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    PRIMARY KEY (session, seq)
) STRICT, WITHOUT ROWID;

-- Who still has records of parent: those over erased up to seq.
CREATE TABLE forks (
    parent INTEGER NOT NULL,
    seq    INTEGER NOT NULL,
    child  INTEGER NOT NULL,
    erased INTEGER NOT NULL,
    PRIMARY KEY (parent, seq, child)
) STRICT, WITHOUT ROWID;
