package crashtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stayd/stayd/internal/crashtest/outside"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/model/script"
	"github.com/stayd/stayd/internal/pgtest"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/store/postgres"
	"github.com/stayd/stayd/internal/store/sqlite"
	"github.com/stayd/stayd/internal/store/storefault"
)

// opener opens a store that begins empty, again and again.
type opener func(testing.TB) func(context.Context) (store.Store, error)

var openers = map[string]opener{
	"sqlite": func(tb testing.TB) func(context.Context) (store.Store, error) {
		tb.Helper()
		path := filepath.Join(tb.TempDir(), "stayd.db")
		return func(ctx context.Context) (store.Store, error) { return sqlite.Open(ctx, path, sqlite.Options{}) }
	},
	"postgres": func(tb testing.TB) func(context.Context) (store.Store, error) {
		tb.Helper()
		url := pgtest.Start(tb)
		return func(ctx context.Context) (store.Store, error) { return postgres.Open(ctx, url) }
	},
}

// lastAppend is past the number of appends that the reference session takes,
// whatever goes wrong in it.
const lastAppend = 48

// every is how many appends a sweep goes on at a time: all of them at full size,
// which is with as many kills as make crash has, or some of them.
func every(small int) int {
	if *kills >= fullKills {
		return 1
	}
	return small
}

const fullKills = 500

// TestSweep kills the engine before and after every append of a reference
// session, and once more soon after it was started again, and expects the
// session to end with nothing done twice and nothing lost.
func TestSweep(t *testing.T) {
	s := parseScript(t)
	for name, open := range openers {
		for _, faults := range []int{0, 250} {
			for _, after := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/faults=%d/after=%t", name, faults, after), func(t *testing.T) {
					step := 1
					if faults > 0 || name == "postgres" {
						step = every(6)
					}
					for n := 1; n <= lastAppend; n += step {
						t.Run(strconv.Itoa(n), func(t *testing.T) {
							t.Parallel()
							r := reference{open: open, catalog: s, after: after, faults: faults}
							crashed := r.run(t, n, 1+n%3)
							if crashed != (n < 20) && n < 20 || n == lastAppend && crashed {
								t.Errorf("crashed at append %d: %t", n, crashed)
							}
						})
					}
				})
			}
		}
	}
}

// TestSweepAway has the store give no answer to each append of a reference
// session in turn, whether it was written or not, while the engine goes on.
func TestSweepAway(t *testing.T) {
	s := parseScript(t)
	for name, open := range openers {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/after=%t", name, after), func(t *testing.T) {
				for n := 1; n <= 32; n += every(3) {
					t.Run(strconv.Itoa(n), func(t *testing.T) {
						t.Parallel()
						r := reference{open: open, catalog: s, after: after, away: true}
						if r.run(t, n) {
							t.Error("the engine crashed")
						}
					})
				}
			})
		}
	}
}

// TestSweepCancel cancels the turn that runs after every record, and kills the
// engine before and after an append that follows soon.
func TestSweepCancel(t *testing.T) {
	s := parseScript(t)
	for name, open := range openers {
		t.Run(name, func(t *testing.T) {
			for n := 3; n <= 32; n += every(4) {
				t.Run(strconv.Itoa(n), func(t *testing.T) {
					t.Parallel()
					r := reference{open: open, catalog: s, after: n%2 == 0, faults: 400, refused: 300, cancelAt: int64(n)}
					r.run(t, n+n%3)
				})
			}
		})
	}
}

func parseScript(t *testing.T) scripts {
	t.Helper()
	data, err := os.ReadFile("testdata/scripts/crash.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s, err := script.Parse("crash", data)
	if err != nil {
		t.Fatal(err)
	}
	return scripts{s}
}

// reference is a way to run the reference session.
type reference struct {
	open     opener
	catalog  scripts
	away     bool  // the engine goes on after an append to which the store gave no answer
	after    bool  // the engine dies after the append is written, not before
	faults   int   // of a thousand calls, whose connection is cut
	refused  int   // of a thousand calls, which get no connection
	cancelAt int64 // a number of records; 0 is never
	memory   *event.Memory
}

// run runs the reference session with a crash at each of the appends, counted
// from the last start, and then to its end. It reports whether the first crash
// came about.
func (r *reference) run(t *testing.T, at ...int) (crashed bool) {
	t.Helper()
	reopen := r.open(t)
	ledger := filepath.Join(t.TempDir(), "ledger")
	world, err := outside.Open(ledger, 0, r.faults)
	if err != nil {
		t.Fatal(err)
	}
	defer world.Close() // every line of it is synced
	for i, n := range append(at, 0) {
		dead := r.once(t, reopen, world, n)
		if i == 0 {
			crashed = dead
		}
		if !dead {
			break
		}
	}
	r.check(t, reopen, ledger)
	return crashed
}

// once runs an engine until the session has ended, or the engine is dead.
func (r *reference) once(t *testing.T, reopen func(context.Context) (store.Store, error), world *outside.World, at int) (dead bool) {
	t.Helper()
	st, err := reopen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close() // a process that is killed does not look at it either
	rule := storefault.Rule{Append: at, After: r.after, Crash: true}
	if r.away {
		rule = storefault.Rule{Append: at, After: r.after, Err: store.ErrUnavailable}
	}
	if at == 0 {
		rule = storefault.Rule{Append: -1}
	}
	e := startEngine(t, storefault.New(st, rule), world, r.refused, r.catalog)
	defer e.stop()
	err = e.drive(t.Context(), r)
	if err != nil && !errors.Is(err, storefault.ErrCrashed) {
		t.Fatal(err)
	}
	return err != nil
}

// check compares the log of the reference session with the ledger.
func (r *reference) check(t *testing.T, reopen func(context.Context) (store.Store, error), ledger string) {
	t.Helper()
	st, err := reopen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close() // only read
	recs, err := records(t.Context(), st)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := outside.ReadLedger(ledger)
	if err != nil {
		t.Fatal(err)
	}
	if r.memory != nil {
		remembered(t, st, recs)
	}
	l, faults := ReadLog(sessionID, recs)
	faults = append(faults, Compare(Tally(lines), []*Log{l})...)
	for _, f := range faults {
		t.Error(f)
	}
	if len(l.Turns) != len(inputs) {
		t.Errorf("the log has %d turns, want %d", len(l.Turns), len(inputs))
	}
	for _, turn := range l.Turns {
		if turn.Status != "completed" && (turn.Status != "cancelled" || r.cancelAt == 0) {
			t.Errorf("the turn %q is %q", turn.Text, turn.Status)
		}
	}
}
