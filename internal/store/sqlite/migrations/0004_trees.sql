-- The contents of files beside the log, and which of them records name.

-- +goose Up

-- Roots of trees that records name.
CREATE TABLE trees (
    session INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    root    BLOB    NOT NULL,
    PRIMARY KEY (session, seq, root)
) STRICT, WITHOUT ROWID;

-- Pieces of contents. What changes lies apart from the data, so that putting a
-- piece again does not write its data again.
CREATE TABLE pieces (
    id      INTEGER PRIMARY KEY,
    project INTEGER NOT NULL,
    hash    BLOB    NOT NULL,
    put_at  INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX pieces_by_hash ON pieces (project, hash);

CREATE TABLE piece_data (
    piece INTEGER PRIMARY KEY,
    data  BLOB NOT NULL
) STRICT;
