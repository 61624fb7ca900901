package app

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/stayd/stayd/internal/memory/embed/static"
	"github.com/stayd/stayd/internal/memory/keeper"
	"github.com/stayd/stayd/internal/store"
)

// openKeeper makes the keeper of long-term memory, with vectors that need no key
// and no network.
func openKeeper(st store.Store, log *slog.Logger) (*keeper.Keeper, error) {
	words, err := static.New()
	if err != nil {
		return nil, fmt.Errorf("open the embedded vectors: %w", err)
	}
	return keeper.New(keeper.Config{Store: st, Embedder: words, Local: true, Now: time.Now, Log: log}), nil
}
