-- What is forgotten leaves few traces in the files of the server.

-- +goose Up

-- Statistics hold values of their columns, and stay after the rows.
ALTER TABLE memories
	ALTER actor SET STATISTICS 0, ALTER session SET STATISTICS 0, ALTER namespace SET STATISTICS 0, ALTER metadata SET STATISTICS 0,
	ALTER source SET STATISTICS 0, ALTER vector SET STATISTICS 0, ALTER text SET STATISTICS 0;
ALTER TABLE memory_segments ALTER data SET STATISTICS 0;

-- Indexes have the hashes of names: what an index held stays in gaps of its pages
-- when the server vacuums it. The planner has statistics of the hashes.
DROP INDEX memories_actor;
DROP INDEX memories_session;
CREATE INDEX memories_actor ON memories (project, hashtextextended(actor, 0)) WHERE actor IS NOT NULL;
CREATE INDEX memories_session ON memories (project, hashtextextended(session, 0)) WHERE session IS NOT NULL;

-- The server vacuums the tables whenever a row was deleted, and not only when a
-- fifth of them was.
ALTER TABLE memories SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 0,
	toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 0);
ALTER TABLE memory_segments SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 0,
	toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 0);

ANALYZE memories;
