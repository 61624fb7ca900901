// Package app is the composition root: it makes every part from the operator's
// configuration, starts them in order and stops them in reverse. It is the only
// package that imports implementations.
package app

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/stayd/stayd/internal/blob"
	"github.com/stayd/stayd/internal/cluster"
	"github.com/stayd/stayd/internal/credential"
	"github.com/stayd/stayd/internal/effect"
	"github.com/stayd/stayd/internal/environment/remote"
	"github.com/stayd/stayd/internal/feed"
	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/httpapi/agents"
	"github.com/stayd/stayd/internal/httpapi/consent"
	"github.com/stayd/stayd/internal/httpapi/keys"
	"github.com/stayd/stayd/internal/httpapi/memories"
	"github.com/stayd/stayd/internal/httpapi/vaults"
	"github.com/stayd/stayd/internal/identity"
	"github.com/stayd/stayd/internal/identity/workload"
	"github.com/stayd/stayd/internal/journal"
	"github.com/stayd/stayd/internal/memory/keeper"
	"github.com/stayd/stayd/internal/model/router"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/store/postgres"
	"github.com/stayd/stayd/internal/store/sqlite"
	"github.com/stayd/stayd/internal/vault"
	"github.com/stayd/stayd/internal/version"
	"github.com/stayd/stayd/internal/worker"
)

// App is a runtime with all its parts.
type App struct {
	cfg    Config
	log    *slog.Logger
	store  store.Store
	blobs  blob.Store
	holder *cluster.Holder
	worker *worker.Worker
	tools  *tools
	models *router.Router
	server *httpapi.Server

	environments *effect.Environments
	keeper       *keeper.Keeper
	keys         *identity.Keys
	vaults       *vault.Vaults
	issuer       *workload.Issuer // of tokens of agents
	credentials  *credential.Source
	hub          *remote.Hub
	handler      http.Handler

	stopping chan struct{} // closed when streams have to end
	deleted  chan struct{} // signalled when a session was deleted
	cancel   context.CancelFunc
	running  sync.WaitGroup
	closing  sync.Once
	closeErr error
}

// Open makes the runtime and starts it. It returns *cluster.HeldError where
// another process holds the store.
func Open(ctx context.Context, cfg Config, log *slog.Logger) (*App, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	a := &App{cfg: cfg, log: log, stopping: make(chan struct{}), deleted: make(chan struct{}, 1)}
	if err := a.open(ctx); err != nil {
		return nil, errors.Join(err, a.release(ctx))
	}
	a.deleted <- struct{}{}
	ctx, a.cancel = context.WithCancel(context.WithoutCancel(ctx))
	a.holder.Start(ctx)
	a.running.Go(func() { a.worker.Run(ctx) })
	a.running.Go(func() { a.keeper.Run(ctx) })
	a.running.Go(func() { a.collect(ctx) })
	a.running.Go(func() { a.settleVaults(ctx) })
	return a, nil
}

// open makes the parts, in the order in which they need each other. Those that it
// made when it fails are left to release.
func (a *App) open(ctx context.Context) (err error) {
	cfg, log, owner := &a.cfg, a.log, cluster.Owner()
	cfg.sent = newSent()
	if cfg.tracer, err = openTracer(ctx, cfg, owner, log); err != nil {
		return err
	}
	if a.models, err = OpenModels(cfg); err != nil {
		return err
	}
	if a.tools, err = openTools(cfg, log); err != nil {
		return err
	}
	if a.store, err = OpenStore(ctx, cfg.Store, cfg.Data, log); err != nil {
		return err
	}
	if a.blobs, err = openBlobs(ctx, cfg, a.store); err != nil {
		return err
	}
	holder := cluster.New(a.store, owner, cfg.LeaseTTL, log)
	err = holder.Acquire(ctx, cfg.Patience, func(h *cluster.HeldError) {
		log.Warn("waiting for another process to give up the store", "owner", h.Owner, "ends in", h.ExpiresIn.Round(time.Millisecond))
	})
	if err != nil {
		return err
	}
	a.holder = holder
	a.keys = &identity.Keys{Store: a.store, Now: time.Now}
	if a.vaults, err = openVaults(ctx, cfg, a.store); err != nil {
		return err
	}
	if a.keeper, err = openKeeper(cfg, a.models, a.store, a.vaults, log); err != nil {
		return err
	}
	if a.issuer, err = openIssuer(ctx, cfg, a.store, a.vaults, log); err != nil {
		return err
	}
	if a.credentials, err = openCredentials(cfg, a.vaults, a.store, a.issuer, log); err != nil {
		return err
	}
	a.tools.credentials, a.tools.issuer = a.credentials, a.issuer
	tokens, err := openTokens(cfg)
	if err != nil {
		return err
	}
	a.wire(tokens)
	return nil
}

// release gives up what there is, in reverse.
func (a *App) release(ctx context.Context) error {
	var errs []error
	if a.holder != nil {
		a.holder.Stop(ctx)
	}
	if a.tools != nil {
		errs = append(errs, a.tools.close())
	}
	if a.credentials != nil {
		a.credentials.Close()
	}
	if a.store != nil {
		errs = append(errs, a.store.Close())
	}
	a.cfg.tracer.Close(context.WithoutCancel(ctx))
	return errors.Join(errs...)
}

// OpenStore opens the store at the PostgreSQL URL, or, where that is empty, the
// SQLite file in the data folder.
func OpenStore(ctx context.Context, url, data string, log *slog.Logger) (store.Store, error) {
	if url != "" {
		st, err := postgres.Open(ctx, url)
		if err != nil {
			return nil, fmt.Errorf("open the store %s: %w", redactURL(url), err)
		}
		return st, nil
	}
	st, err := sqlite.Open(ctx, filepath.Join(data, "stayd.db"), sqlite.Options{Logger: log})
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	return st, nil
}

// wire connects the parts. The door and the worker share the journal and the
// feed, and nothing else.
func (a *App) wire(tokens *httpapi.Tokens) {
	f := feed.New()
	j := journal.New(a.store, a.holder, time.Now, func(c journal.Commit) {
		f.Committed(c.Session, c.Records)
		if c.Runnable {
			f.Wake(feed.Hint{Project: c.Project, Session: c.Session})
		}
		a.tidy(c)
	})
	a.environments = &effect.Environments{
		Sandboxes: a.tools.sandboxes, Dir: filepath.Join(a.cfg.Data, workspacesFolder), Blobs: a.blobs, Egress: a.tools.egress, Secrets: a.secrets,
	}
	a.worker = &worker.Worker{
		Journal: j, Feed: f, Due: a.store, Shards: a.holder, Now: time.Now, Log: a.log, Tracer: a.cfg.tracer,
		Performer: &effect.Performer{Catalog: a.models, Servers: a.tools, Environments: a.environments, Keeper: a.keeper, Feed: f, Now: time.Now},
	}
	configured := make(map[[32]byte]string, len(a.cfg.Keys))
	for key, project := range a.cfg.Keys {
		configured[sha256.Sum256([]byte(key))] = project
	}
	a.server = httpapi.New(httpapi.Config{
		Log: a.log, Version: version.String(), MaxBody: a.cfg.MaxBody, Keys: configured, Ready: a.ready, Stopping: a.stopping,
		RequireKey: a.cfg.requiresKey(), Callers: a.keys.Check, Tokens: tokens, Tracer: a.cfg.tracer,
	})
	registerMetrics(a.server.Metrics(), a)
	a.cfg.sent.register(a.server.Metrics())
	sessions := agents.Config{
		Journal: j, Store: a.store, Feed: f, Blobs: a.blobs, Keeper: a.keeper, Now: time.Now,
		CheckModel: func(name string) error {
			_, err := a.models.Resolve(name)
			return err
		},
		CheckSandbox:   a.tools.check,
		DefaultSandbox: func(context.Context) string { return a.tools.defaultSandbox() },
		CheckVault: func(ctx context.Context, project, id string) error {
			_, err := a.vaults.Get(ctx, project, id)
			return err
		},
		ConsentURL:          a.consentURL,
		AllowNetwork:        a.cfg.allowNetwork,
		AllowStdio:          a.tools.allowStdio,
		CompactionThreshold: a.compactionThreshold,
	}
	agents.Mount(a.server, sessions)
	keys.Mount(a.server, keys.Config{Keys: a.keys})
	credentials := vaults.Config{Vaults: a.vaults, Revoke: a.credentials.Revoke, KeyClient: a.keyClient}
	vaults.Mount(a.server, credentials)
	consent.Mount(a.server, consent.Config{Journal: j, Credentials: a.credentials, PublicURL: a.cfg.pagesURL(), Log: a.log})
	a.mountTokens(j, tokens)
	memories.Mount(a.server, memories.Config{Keeper: a.keeper, Erase: agents.Eraser(sessions), Credentials: vaults.Forgetter(credentials)})
	a.openHub(j)
}

// compactionThreshold leaves a fifth of the model's context for the answer and
// for what comes in meanwhile.
func (a *App) compactionThreshold(name string) int64 {
	cands, err := a.models.Resolve(name)
	if err != nil {
		return 0
	}
	return cands[0].ContextTokens * 4 / 5
}

// readyTimeout bounds the question whether the store answers: one that hangs is
// one that does not.
const readyTimeout = 2 * time.Second

func (a *App) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := a.store.Ping(ctx); err != nil {
		return err
	}
	if n := len(a.holder.Shards()); n < store.Shards {
		return fmt.Errorf("this process holds %d of %d shards", n, store.Shards)
	}
	return nil
}

// collectEvery is how often blobs that no log names are removed, and how long
// they have to have been unnamed.
const collectEvery = time.Hour

// collect removes what nothing names any more: blobs now and then, workspaces on
// start and when a session was deleted.
func (a *App) collect(ctx context.Context) {
	tick := time.NewTicker(collectEvery)
	defer tick.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-a.deleted:
			err = a.removeWorkspaces(ctx)
		case <-tick.C:
			err = a.collectBlobs(ctx)
		}
		if err != nil && ctx.Err() == nil {
			a.log.Warn("what was deleted could not be cleared away", "error", err)
		}
	}
}

// Handler is the whole HTTP API.
func (a *App) Handler() http.Handler { return a.handler }

// Models is the catalog of models.
func (a *App) Models() *router.Router { return a.models }

// Serve answers requests on the listener until ctx ends, and then closes the
// runtime.
func (a *App) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{Handler: a.handler, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug)}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	close(a.stopping)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), serveGrace)
	defer cancel()
	if shutErr := srv.Shutdown(stop); shutErr != nil {
		err = errors.Join(err, shutErr, srv.Close())
	}
	return errors.Join(err, a.Close(context.WithoutCancel(ctx)))
}

// serveGrace is how long requests may take after the process was asked to stop.
const serveGrace = 10 * time.Second

// Close stops the runtime: the worker first, whose sessions are taken up by the
// next process, then the leases, which are given back, then the store.
func (a *App) Close(ctx context.Context) error {
	a.closing.Do(func() {
		a.cancel()
		a.running.Wait()
		a.environments.Close()
		a.hub.Close()
		a.closeErr = a.release(ctx)
	})
	return a.closeErr
}
