package app

import (
	"log/slog"
	"time"

	"github.com/stayd/stayd/internal/memory/keeper"
	"github.com/stayd/stayd/internal/model/router"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/vault"
)

// openKeeper makes the keeper of long-term memory.
func openKeeper(cfg *Config, models *router.Router, st store.Store, vaults *vault.Vaults, log *slog.Logger) (*keeper.Keeper, error) {
	embedders, err := openEmbedders(cfg, models)
	if err != nil {
		return nil, err
	}
	c := keeper.Config{Store: st, Vaults: vaults, Now: time.Now, Log: log}
	for i, e := range embedders {
		if i == 0 {
			c.Embedder, c.Local = e.records, e.local
		}
		c.Questions = append(c.Questions, e.questions)
	}
	if c.Reranking, err = OpenReranking(cfg, models); err != nil {
		return nil, err
	}
	return keeper.New(c), nil
}
