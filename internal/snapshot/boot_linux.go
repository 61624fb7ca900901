package snapshot

import (
	"os"
	"strings"
)

// bootID is another one each time that the machine starts; empty where that
// cannot be known.
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}
