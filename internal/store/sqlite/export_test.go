package sqlite

// DrawnQuery is the query of DrawnMemories for n ids.
func DrawnQuery(n int) string { return drawnQuery(n) }
