package bubblewrap_test

import (
	"testing"

	"github.com/stayd/stayd/internal/environment/bubblewrap"
	"github.com/stayd/stayd/internal/environment/environmenttest"
	"github.com/stayd/stayd/internal/environment/shell"
)

func TestEscape(t *testing.T) {
	limits := shell.Limits{Memory: 256 << 20, Processes: 64, CPUs: 2, Disk: 64 << 20}
	each(t, bubblewrap.Config{Limits: limits, FileSize: 1 << 30}, func(t *testing.T, d *bubblewrap.Driver) {
		has := limits
		if d.MemoryLimit() == "RLIMIT_AS" { // of each process, which is no limit of them all
			has.Memory, has.Processes = 0, 0
		}
		environmenttest.Escape(t, d, has)
	})
}
