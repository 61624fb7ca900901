-- What rests on a memory is found by it.

-- +goose Up

-- source is the id of the memory that the record with the number drawn was drawn
-- from, or whose place it took. It may be one that is not there.
CREATE TABLE memory_sources (
    source BLOB    NOT NULL,
    drawn  INTEGER NOT NULL,
    PRIMARY KEY (source, drawn)
) STRICT, WITHOUT ROWID;

INSERT INTO memory_sources (source, drawn)
    SELECT supersedes, num FROM memories WHERE supersedes IS NOT NULL;

-- An id in a packed source is the 16 bytes after these: the number of the field,
-- the length of the text, and what ids begin with. What only looks like one does
-- no harm, as who asks compares it with the record.
WITH RECURSIVE found (num, rest, at) AS (
    SELECT num, source, instr(source, x'03296D656D5F') FROM memories WHERE strategy <> 0 AND source IS NOT NULL
    UNION ALL
    SELECT num, substr(rest, at + 1), instr(substr(rest, at + 1), x'03296D656D5F') FROM found WHERE at > 0
)
INSERT OR IGNORE INTO memory_sources (source, drawn)
    SELECT substr(rest, at + 6, 16), num FROM found WHERE at > 0 AND length(rest) >= at + 21;
