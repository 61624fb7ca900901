package crashtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stayd/stayd/internal/crashtest/outside"
)

// Config says what a run is made of.
type Config struct {
	Binary  string // of stayd
	Scripts string // folder that has crash.yaml
	Dir     string // for data, ledger and logs
	Store   string // postgres:// URL; empty is SQLite
	World   string // URL of the outside's MCP server
	Ledger  string // of the outside
	Kills   int
	Clients int // at a time
	Seed    uint64
	// Settle bounds how long the sessions may take to end after the last kill.
	Settle time.Duration
	// CrashStore kills the store's own server and starts it again; nil where the
	// store has none.
	CrashStore func()
}

// Report is what came of a run.
type Report struct {
	Store      string         `json:"store"`
	Kills      int            `json:"kills"`
	AtRecord   int            `json:"kills_at_a_record"`    // of Kills: at once on seeing a given record
	Early      int            `json:"kills_while_starting"` // of Kills
	StoreCrash int            `json:"store_crashes"`
	Sessions   int            `json:"sessions"`
	Turns      map[string]int `json:"turns"`     // by how they ended
	Events     int            `json:"events"`    // that clients saw
	Withdrawn  int            `json:"withdrawn"` // of Events: opened an item of a turn that was then cancelled
	Records    int            `json:"records"`
	Effects    map[string]int `json:"effects"`        // calls that reached the outside, by tool
	Repeated   map[string]int `json:"repeated"`       // arrivals beyond the first, by tool
	Cut        int            `json:"cut"`            // connections that the outside cut
	Unknown    int            `json:"unknown"`        // calls whose outcome nobody knows
	Resumed    int            `json:"resumed"`        // attempts beyond the first, in the logs
	Seconds    float64        `json:"seconds"`        // in all
	Settled    float64        `json:"settle_seconds"` // from the last start to the end of the last session
	Seed       uint64         `json:"seed"`
}

// String is the report in one line.
func (r *Report) String() string {
	return fmt.Sprintf("%s: %d kills (%d at a record, %d while starting), %d crashes of the store, %d sessions, turns %v, %d records, %d events (%d withdrawn); effects %v, repeated %v, %d connections cut, %d outcomes unknown, %d attempts resumed; %.1fs, settled in %.1fs; seed %d",
		r.Store, r.Kills, r.AtRecord, r.Early, r.StoreCrash, r.Sessions, r.Turns, r.Records, r.Events, r.Withdrawn, r.Effects, r.Repeated, r.Cut, r.Unknown, r.Resumed, r.Seconds, r.Settled, r.Seed)
}

// run is one run under way.
type run struct {
	cfg    Config
	server *Server
	rng    *rand.Rand // of the killer

	target atomic.Int64  // the record at which to kill
	hit    chan struct{} // signalled when a client has seen it
	full   atomic.Bool   // no new session is begun, and nothing killed any more

	mu      sync.Mutex
	clients []*Client
	errs    []error
}

// Run kills the server under load, and checks what came of it. The faults are
// sentences; an error is a run that could not be made.
func Run(ctx context.Context, cfg Config) (*Report, []string, error) {
	began := time.Now()
	args := []string{"--data", filepath.Join(cfg.Dir, "data"), "--scripts", cfg.Scripts, "--allow-outbound", "127.0.0.0/8", "--lease-ttl", "1s"}
	if cfg.Store != "" {
		args = append(args, "--store", cfg.Store)
	}
	srv, err := NewServer(cfg.Binary, filepath.Join(cfg.Dir, "server.log"), args...)
	if err != nil {
		return nil, nil, err
	}
	r := &run{cfg: cfg, server: srv, rng: rand.New(rand.NewPCG(cfg.Seed, 1)), hit: make(chan struct{}, 1)} // it has to be repeatable
	defer srv.Kill()                                                                                       // the last one

	clients, stopClients := context.WithCancel(ctx)
	defer stopClients()
	var load sync.WaitGroup
	var number atomic.Int64
	for range cfg.Clients {
		load.Go(func() {
			for !r.full.Load() && clients.Err() == nil {
				r.client(clients, int(number.Add(1)))
			}
		})
	}
	report := &Report{Store: "sqlite", Seed: cfg.Seed}
	if cfg.Store != "" {
		report.Store = "postgres"
	}
	err = r.kill(ctx, report)
	r.full.Store(true)
	if err == nil {
		err = srv.Start(ctx)
	}
	if err != nil {
		stopClients()
		load.Wait()
		return nil, nil, err
	}
	started := time.Now()
	limit := time.AfterFunc(cfg.Settle, stopClients)
	load.Wait()
	limit.Stop()
	report.Settled = time.Since(started).Seconds()
	faults, err := r.check(ctx, report)
	report.Seconds = time.Since(began).Seconds()
	return report, faults, err
}

// recordsOfASession is about how many records a session of the load has.
const recordsOfASession = 60

// kill starts the server and kills it again, as often as was asked for: half of
// the times at once when a client has seen a certain record of its session, each
// in turn, else after some time, and now and then while it still starts.
func (r *run) kill(ctx context.Context, report *Report) error {
	for report.Kills < r.cfg.Kills && !r.full.Load() {
		if report.Kills%10 == 8 {
			if err := r.server.KillEarly(time.Duration(r.rng.IntN(150)) * time.Millisecond); err != nil {
				return err
			}
			report.Early++
			report.Kills++
			continue
		}
		if err := r.server.Start(ctx); err != nil {
			return fmt.Errorf("after %d kills: %w", report.Kills, err)
		}
		if report.Kills%20 == 4 && r.cfg.CrashStore != nil {
			r.cfg.CrashStore()
			report.StoreCrash++
		}
		life := time.Duration(5+r.rng.IntN(295)) * time.Millisecond
		var hit chan struct{}
		if report.Kills%2 == 1 {
			select {
			case <-r.hit:
			default:
			}
			r.target.Store(int64(1 + report.Kills/2%recordsOfASession))
			hit, life = r.hit, 400*time.Millisecond
		}
		timer := time.NewTimer(life)
		select {
		case <-timer.C:
		case <-hit:
			report.AtRecord++
		case <-ctx.Done():
		}
		timer.Stop()
		r.target.Store(0)
		if err := errors.Join(ctx.Err(), r.server.Kill()); err != nil {
			return err
		}
		report.Kills++
	}
	return nil
}

// client runs one client to the end of its session.
func (r *run) client(ctx context.Context, n int) {
	c := newClient(r.server.URL, r.plan(n), func(seq int64) {
		if seq == r.target.Load() {
			select {
			case r.hit <- struct{}{}:
			default:
			}
		}
	})
	err := c.Run(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clients = append(r.clients, c)
	if err != nil {
		r.errs = append(r.errs, err)
		r.full.Store(true) // what is there is enough to find out why
	}
}

func (r *run) plan(n int) Plan {
	rng := rand.New(rand.NewPCG(r.cfg.Seed, uint64(n)+2)) // it has to be repeatable
	p := Plan{Name: fmt.Sprintf("c%d", n), Queue: rng.IntN(2) == 0, MCP: r.cfg.World}
	words := [][]string{{"plain", "wait"}, {"ask", "plain"}, {"env", "env wait", "read"}, {"ask wait"}, {"env", "ask", "read"}}[rng.IntN(5)]
	for i, w := range words {
		p.Texts = append(p.Texts, fmt.Sprintf("%s.%d %s", p.Name, i, w))
		p.Environment = p.Environment || w[0] == 'e'
	}
	if rng.IntN(5) == 0 {
		p.CancelAt = 3 + rng.IntN(60)
	}
	return p
}

// check waits for nothing any more: all sessions have ended, or are faults.
func (r *run) check(ctx context.Context, report *Report) ([]string, error) {
	var faults []string
	for _, err := range r.errs {
		faults = append(faults, err.Error())
	}
	report.Turns, report.Effects, report.Repeated = map[string]int{}, map[string]int{}, map[string]int{}
	var logs []*Log
	for _, c := range r.clients {
		faults = append(faults, c.Faults...)
		if c.Session == "" {
			continue
		}
		log, more, err := c.check(ctx)
		if err != nil {
			return nil, err
		}
		faults = append(faults, more...)
		logs = append(logs, log)
		report.add(c, log)
	}
	lines, err := outside.ReadLedger(r.cfg.Ledger)
	if err != nil {
		return nil, err
	}
	books := Tally(lines)
	report.count(books)
	faults = append(faults, Compare(books, logs)...)
	text, err := r.server.Log()
	if err != nil {
		return nil, err
	}
	return append(faults, complaints(text, report.StoreCrash > 0)...), nil
}

func (r *Report) add(c *Client, l *Log) {
	r.Sessions++
	r.Events += len(c.Seen)
	r.Withdrawn += c.Withdrawn
	r.Records += l.Records
	r.Resumed += l.Resumed
	for _, t := range l.Turns {
		r.Turns[t.Status]++
	}
	for _, call := range l.Calls {
		if call.Unknown {
			r.Unknown++
		}
	}
}

func (r *Report) count(books map[string]*Books) {
	for _, b := range books {
		r.Effects[b.Tool]++
		r.Repeated[b.Tool] += max(b.Arrived-1, 0)
		r.Cut += b.Cut
	}
}
