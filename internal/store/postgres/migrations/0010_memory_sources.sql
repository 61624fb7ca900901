-- What rests on a memory is found by it.

-- +goose Up

-- source is the id of the memory that the record with the number was drawn from, or
-- whose place it took. It may be one that is not there. The shard is that of the
-- record.
CREATE TABLE memory_sources (
	source uuid     NOT NULL,
	space  int      NOT NULL,
	num    int      NOT NULL,
	shard  smallint NOT NULL,
	PRIMARY KEY (shard, space, num, source)
);

INSERT INTO memory_sources (shard, space, num, source)
	SELECT shard, space, num, supersedes FROM memories WHERE supersedes IS NOT NULL;

-- An id in a packed source is the 16 bytes after these: the number of the field,
-- the length of the text, and what ids begin with. What only looks like one does
-- no harm, as who asks compares it with the record.
WITH RECURSIVE found (shard, space, num, rest, at) AS (
	SELECT shard, space, num, source, position('\x03296d656d5f'::bytea IN source) FROM memories WHERE strategy <> 0 AND source IS NOT NULL
	UNION ALL
	SELECT shard, space, num, substring(rest FROM at + 1), position('\x03296d656d5f'::bytea IN substring(rest FROM at + 1)) FROM found WHERE at > 0
)
INSERT INTO memory_sources (shard, space, num, source)
	SELECT shard, space, num, encode(substring(rest FROM at + 6 FOR 16), 'hex')::uuid FROM found WHERE at > 0 AND length(rest) >= at + 21
	ON CONFLICT DO NOTHING;

CREATE INDEX memory_sources_source ON memory_sources (source);

ALTER TABLE memory_sources SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 0);

ANALYZE memory_sources;
