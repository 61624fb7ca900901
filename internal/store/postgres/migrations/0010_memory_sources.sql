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
-- no harm, as who asks compares it with the record. A turn is drawn from nothing.
-- Citus takes no recursive query over all shards, so each place is looked at.
INSERT INTO memory_sources (shard, space, num, source)
	SELECT m.shard, m.space, m.num, encode(substring(m.source FROM p.at + 6 FOR 16), 'hex')::uuid
	FROM memories m CROSS JOIN LATERAL generate_series(1, length(m.source) - 21) AS p (at)
	WHERE m.strategy <> 0 AND m.source IS NOT NULL AND substring(m.source FROM p.at FOR 6) = '\x03296d656d5f'::bytea
	ON CONFLICT DO NOTHING;

CREATE INDEX memory_sources_source ON memory_sources (source);

ALTER TABLE memory_sources SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 0);

ANALYZE memory_sources;
