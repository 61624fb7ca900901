package bubblewrap

import (
	"github.com/stayd/stayd/internal/environment/environmenttest"
	"github.com/stayd/stayd/internal/environment/reexec"
	"github.com/stayd/stayd/internal/environment/sandbox"
)

// NewAhead returns a driver like New's, all of whose sandboxes were started ahead
// of their programs; nil where there is no Landlock.
func NewAhead(cfg Config) *Driver {
	if !reexec.HasLandlock() {
		return nil
	}
	return &Driver{Driver: sandbox.New(environmenttest.Ahead(kind(cfg.orDefaults(), true))), landlock: true}
}
