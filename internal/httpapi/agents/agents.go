// Package agents is the wire protocol of the OpenAI Agents API: saved agents,
// sessions, their turns, items and events, and beside them what Stayd adds (the
// log, effects, verification). It appends what clients ask for to the log and
// renders what the log amounts to. It does not know who runs the sessions.
package agents

import (
	"context"
	"encoding/hex"
	"time"

	"github.com/google/uuid"

	"github.com/stayd/stayd/internal/blob"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/feed"
	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/journal"
	"github.com/stayd/stayd/internal/memory/keeper"
	"github.com/stayd/stayd/internal/store"
)

// Config is what the protocol needs.
type Config struct {
	Journal *journal.Journal
	Store   store.Store
	Feed    *feed.Feed
	Blobs   blob.Store     // of the contents of files
	Keeper  *keeper.Keeper // of what agents remember
	Now     func() time.Time

	// CheckModel returns an error, whose text is shown, for a model that cannot
	// be had.
	CheckModel func(name string) error
	// CheckSandbox returns an error, whose text is shown, for a sandbox that this
	// machine cannot give.
	CheckSandbox func(ctx context.Context, name string) error
	// DefaultSandbox is the sandbox of a session that names none.
	DefaultSandbox func(ctx context.Context) string
	// AllowNetwork returns an error, whose text is shown, where the operator does
	// not allow environments the access to the network.
	AllowNetwork func(access string) error
	// AllowStdio reports whether MCP servers may be started with the command.
	AllowStdio func(command string) bool
	// CheckVault returns *vault.NotFoundError where the project has no such vault.
	CheckVault func(ctx context.Context, project, id string) error
	// ConsentURL is where a person answers whether an effect may use a server in
	// their name.
	ConsentURL func(project, session, effectID, nonce string) string
	// CompactionThreshold is the number of input tokens from which a conversation
	// with the model is compacted where its agent does not say; 0 is never.
	CompactionThreshold func(model string) int64
}

type api struct {
	Config
	server *httpapi.Server
}

// Mount registers the protocol's operations.
func Mount(s *httpapi.Server, cfg Config) {
	a := &api{Config: cfg, server: s}
	for _, operations := range [][]httpapi.Operation{
		a.savedOperations(), a.sessionOperations(), a.forkOperations(), a.historyOperations(), a.effectOperations(),
		a.logOperations(), a.artifactOperations(), a.environmentOperations(), a.environmentFileOperations(), a.templateOperations(),
		a.uploadOperations(),
	} {
		for _, op := range operations {
			s.Register(a.bound(op))
		}
	}
}

// newID makes an id that sorts by time.
func newID(prefix string) string {
	u := uuid.Must(uuid.NewV7())
	return prefix + "_" + hex.EncodeToString(u[:])
}

// idFor is the id of what a request makes: a function of its idempotency key, so
// that a repetition finds what was made, or else a new one.
func idFor(prefix string, in event.Input, parts ...string) string {
	if in.Key == "" {
		return newID(prefix)
	}
	return event.DeriveID(prefix, append(parts, in.Key)...)
}

// pick selects a page of n things that are in order of creation: the indexes of
// those asked for, and one more. find returns the index of an id.
func pick(n int, p httpapi.Page, what string, find func(id string) (int, bool)) ([]int, error) {
	next := n - 1
	step := -1
	if p.Asc {
		next, step = 0, 1
	}
	if p.After != "" {
		i, ok := find(p.After)
		if !ok {
			return nil, httpapi.Invalid("after", "No "+what+" found with id '"+p.After+"'.")
		}
		next = i + step
	}
	var out []int
	for ; next >= 0 && next < n && len(out) <= p.Limit; next += step {
		out = append(out, next)
	}
	return out, nil
}

func unix(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	n := t.Unix()
	return &n
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
