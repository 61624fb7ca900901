package memory

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
)

const idPrefix = "mem_"

// ID derives the id of a record from its project and space and from what makes
// it the same write when it comes again: an effect's id, an item's, an
// idempotency key. The first two digits are the shard.
func ID(project, space string, key ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(append([]string{project, space}, key...), "\x00")))
	return idPrefix + hex.EncodeToString([]byte{byte(ShardOf(project, space))}) + hex.EncodeToString(sum[:15])
}

// ShardOfID returns the shard in the id, and false where it is no id.
func ShardOfID(id string) (int, bool) {
	rest, ok := strings.CutPrefix(id, idPrefix)
	if !ok || len(rest) != 32 {
		return 0, false
	}
	n, err := strconv.ParseUint(rest[:2], 16, 8)
	return int(n), err == nil
}
