package postgres

import "context"

// OpenLanes opens a database of plain PostgreSQL as one of Citus is: each shard
// commits alone.
func OpenLanes(ctx context.Context, url string) (*Store, error) { return open(ctx, url, true) }

// MemoryByNum and others are the statements that find records of a space.
const (
	MemoryByNum      = memoryThere
	MemoryByID       = memoryFind
	MemoryChanged    = memoryChanged
	MemoryUnembedded = memoryUnembedded
)
