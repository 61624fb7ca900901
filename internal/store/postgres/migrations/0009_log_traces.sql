-- Sessions that are erased leave as few traces as memories that are forgotten.

-- +goose Up

-- Statistics hold values of their columns, and stay after the rows.
ALTER TABLE records ALTER data SET STATISTICS 0, ALTER salt SET STATISTICS 0;
ALTER TABLE sessions ALTER metadata SET STATISTICS 0;
ALTER TABLE blobs ALTER data SET STATISTICS 0;
ALTER TABLE pieces ALTER data SET STATISTICS 0;

-- A log is only added to, so that a row that is dead was erased.
ALTER TABLE records SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 0,
	toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 0);
ALTER TABLE blobs SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 100,
	toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 100);
ALTER TABLE pieces SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 100,
	toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 100);

ANALYZE records, sessions, blobs, pieces;
