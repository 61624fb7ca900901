package mcp

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/tool"
)

// PoolConfig is what a pool needs.
type PoolConfig struct {
	HTTP *http.Client
	// Authorize is that of Config, for a caller of a server.
	Authorize func(ctx context.Context, c tool.Caller, t *event.Tool, ch *tool.Challenge) (string, error)
	// Log is called with what the processes of a session's servers write to their
	// standard error; nil drops it.
	Log func(session, label, line string)
	// Idle is after how long without a call a connection is closed; 0 is 5
	// minutes.
	Idle time.Duration
	// Grace is that of Config.
	Grace time.Duration
}

// Pool keeps one connection for each caller, server and configuration: what a
// server does for one person it never does over the connection of another. It is
// safe for use by many goroutines.
type Pool struct {
	cfg  PoolConfig
	ctx  context.Context //nolint:containedctx // ends with Close
	stop context.CancelCauseFunc
	done chan struct{}

	mu     sync.Mutex
	conns  map[poolKey]*pooled
	closed bool
	errs   []error
}

type poolKey struct {
	session, label string
	config         [sha256.Size]byte // of the server and the caller
}

// NewPool returns a pool. The caller must close it.
func NewPool(cfg PoolConfig) *Pool {
	if cfg.Idle == 0 {
		cfg.Idle = 5 * time.Minute
	}
	p := &Pool{cfg: cfg, done: make(chan struct{}), conns: map[poolKey]*pooled{}}
	p.ctx, p.stop = context.WithCancelCause(context.Background())
	go p.closeIdle()
	return p
}

// Server returns the caller's connection to the server, which connects when it
// is first used. Closing what it returns does nothing: the pool does it.
func (p *Pool) Server(_ context.Context, caller tool.Caller, t *event.Tool) (tool.Server, error) {
	b, err := json.Marshal([]any{t, caller})
	if err != nil {
		return nil, notSent(t.ServerLabel, fmt.Errorf("encode the configuration: %w", err))
	}
	key := poolKey{session: caller.Session, label: t.ServerLabel, config: sha256.Sum256(b)}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, notSent(t.ServerLabel, errClosed)
	}
	c := p.conns[key]
	if c == nil {
		c = &pooled{pool: p, caller: caller, tool: t}
		p.conns[key] = c
	}
	c.used = time.Now()
	return c, nil
}

// Leave closes the connections of a session.
func (p *Pool) Leave(session string) error {
	return p.closeWhere(func(k poolKey, _ *pooled) bool { return k.session == session })
}

// Close closes all connections and waits for their calls, which it ends.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.stop(errClosed)
	<-p.done
	err := p.closeWhere(func(poolKey, *pooled) bool { return true })
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(append(p.errs, err)...)
}

func (p *Pool) closeIdle() {
	defer close(p.done)
	tick := time.NewTicker(p.cfg.Idle / 4)
	defer tick.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case now := <-tick.C:
			err := p.closeWhere(func(_ poolKey, c *pooled) bool { return c.running == 0 && now.Sub(c.used) >= p.cfg.Idle })
			p.mu.Lock()
			if err != nil && len(p.errs) < 16 {
				p.errs = append(p.errs, err)
			}
			p.mu.Unlock()
		}
	}
}

// closeWhere closes the connections that are chosen, all at the same time.
func (p *Pool) closeWhere(chosen func(poolKey, *pooled) bool) error {
	p.mu.Lock()
	var out []*pooled
	for k, c := range p.conns {
		if chosen(k, c) {
			out = append(out, c)
			delete(p.conns, k)
		}
	}
	p.mu.Unlock()
	errs := make([]error, len(out))
	var wg sync.WaitGroup
	for i, c := range out {
		wg.Go(func() { errs[i] = c.end() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// pooled is a connection of the pool, made when it is first used.
type pooled struct {
	pool   *Pool
	caller tool.Caller
	tool   *event.Tool

	// Guarded by pool.mu.
	running int
	used    time.Time

	mu    sync.Mutex // held while it connects
	conn  tool.Server
	ended bool
}

func (c *pooled) begin(ctx context.Context) (tool.Server, error) {
	c.pool.mu.Lock()
	c.running++
	c.pool.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return nil, notSent(c.tool.ServerLabel, errClosed)
	}
	if c.conn == nil {
		cfg := Config{Tool: c.tool, HTTP: c.pool.cfg.HTTP, Grace: c.pool.cfg.Grace}
		if log := c.pool.cfg.Log; log != nil {
			cfg.Log = func(line string) { log(c.caller.Session, c.tool.ServerLabel, line) }
		}
		if authorize := c.pool.cfg.Authorize; authorize != nil {
			cfg.Authorize = func(ctx context.Context, ch *tool.Challenge) (string, error) {
				return authorize(ctx, c.caller, c.tool, ch)
			}
		}
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		defer context.AfterFunc(c.pool.ctx, func() { cancel(errClosed) })() //nolint:contextcheck // it ends with the pool, too
		conn, err := Connect(ctx, cfg)
		if err != nil {
			return nil, err
		}
		c.conn = conn
	}
	return c.conn, nil
}

func (c *pooled) done() {
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	c.running--
	c.used = time.Now()
}

func (c *pooled) end() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.conn == nil {
		return nil
	}
	return c.conn.Close()
}

// List asks the server.
func (c *pooled) List(ctx context.Context) ([]event.ToolSpec, error) {
	defer c.done()
	s, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	return s.List(ctx)
}

// Call calls the server.
func (c *pooled) Call(ctx context.Context, call tool.Call) (tool.Result, error) {
	defer c.done()
	s, err := c.begin(ctx)
	if err != nil {
		return tool.Result{}, err
	}
	return s.Call(ctx, call)
}

// Close does nothing: the connection is the pool's.
func (c *pooled) Close() error { return nil }
