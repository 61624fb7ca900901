package postgres

import "context"

// OpenLanes opens a database of plain PostgreSQL as one of Citus is: each shard
// commits alone.
func OpenLanes(ctx context.Context, url string) (*Store, error) { return open(ctx, url, true) }
