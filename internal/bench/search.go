package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/embed/static"
	"github.com/stayd/stayd/internal/memory/keeper"
	"github.com/stayd/stayd/internal/store"
)

// SearchOptions are those of a run of Search.
type SearchOptions struct {
	// Run names this run: a store may hold others.
	Run string
	// Open opens the store of the measurement named, which is empty when it is
	// opened first.
	Open func(ctx context.Context, name string) (store.Store, error)
	// Duration is how long is searched by each number of clients.
	Duration time.Duration
	// Records and Spaces say how much memory is searched, each with each, and
	// Clients how many search at once.
	Records []int
	Spaces  []int
	Clients []int
	// Progress is told what is measured next.
	Progress func(string)
}

// SearchResult is what a run of Search found.
type SearchResult struct {
	Memories []SearchedMemory `json:"memories"`
}

// SearchedMemory is what was found of one number of records in one number of
// spaces.
type SearchedMemory struct {
	Records     int     `json:"records"`
	Spaces      int     `json:"spaces"`
	WritesPerS  float64 `json:"writes_per_s"`
	StoredBytes float64 `json:"stored_bytes_per_record"`
	MemoryBytes float64 `json:"memory_bytes_per_record"` // of the process, once all spaces were searched
	// FirstMS is how long the first search of a process takes.
	FirstMS float64 `json:"first_search_ms"`
	// Found is the share of questions whose record is among the ten that are found.
	Found    float64    `json:"found"`
	Searches []Searches `json:"searches"`
}

// Searches is how quick searches are by a number of clients at once.
type Searches struct {
	Clients int     `json:"clients"`
	PerS    float64 `json:"per_s"`
	Timing
}

const (
	// writtenAtOnce is how many records one write has, and writers how many write.
	writtenAtOnce = 2000
	writers       = 4
	// asked is how many questions say whether what is asked for is found.
	asked = 200
	// dialogue is how many messages a conversation has.
	dialogue = 20
)

// Search measures searches in long-term memory, with the keeper and the vectors
// of a server, on made records.
func Search(ctx context.Context, o SearchOptions) (*SearchResult, error) {
	words, err := static.New()
	if err != nil {
		return nil, fmt.Errorf("open the embedded vectors: %w", err)
	}
	r := &SearchResult{}
	made := newSpeech(words)
	for _, records := range o.Records {
		for _, spaces := range o.Spaces {
			if records < spaces {
				continue
			}
			m := &searched{SearchOptions: &o, speech: made, vectors: words, records: records, spaces: spaces}
			m.project = fmt.Sprintf("%s_%d_%d", o.Run, records, spaces)
			found, err := m.run(ctx)
			if err != nil {
				return nil, fmt.Errorf("%d records in %d spaces: %w", records, spaces, err)
			}
			r.Memories = append(r.Memories, *found)
		}
	}
	return r, nil
}

// searched is a memory that is being measured.
type searched struct {
	*SearchOptions
	speech          *speech
	vectors         *static.Embedder
	project         string
	records, spaces int
	store           store.Store
	keeper          *keeper.Keeper
	empty           int64 // bytes of the store before
}

func (m *searched) run(ctx context.Context) (*SearchedMemory, error) {
	r := &SearchedMemory{Records: m.records, Spaces: m.spaces}
	what := fmt.Sprintf("%d records in %d spaces", m.records, m.spaces)
	m.Progress(what + ": written")
	if err := m.within(ctx, func(ctx context.Context) error { return m.fill(ctx, r) }); err != nil {
		return nil, err
	}
	err := m.within(ctx, func(ctx context.Context) error {
		m.Progress(what + ": searched first")
		if err := m.first(ctx, r); err != nil {
			return err
		}
		for _, clients := range m.Clients {
			m.Progress(fmt.Sprintf("%s: searched by %d at once", what, clients))
			s, err := m.search(ctx, clients)
			if err != nil {
				return err
			}
			r.Searches = append(r.Searches, *s)
		}
		return nil
	})
	return r, err
}

// within opens the store, and closes it after do and what that left to be done
// in the background.
func (m *searched) within(ctx context.Context, do func(ctx context.Context) error) error {
	st, err := m.Open(ctx, m.project)
	if err != nil {
		return err
	}
	m.store = st
	m.keeper = keeper.New(keeper.Config{Store: st, Embedder: m.vectors, Local: true, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	err = do(ctx)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	m.keeper.Run(ended)
	m.keeper = nil // what it has in memory is not counted again
	return errors.Join(err, st.Close())
}

func (m *searched) fill(ctx context.Context, r *SearchedMemory) error {
	u, err := m.store.Usage(ctx)
	if err != nil {
		return err
	}
	m.empty = u.Bytes
	start := time.Now()
	g, within := errgroup.WithContext(ctx)
	g.SetLimit(writers)
	for from := 0; from < m.records; from += writtenAtOnce {
		g.Go(func() error {
			to := min(from+writtenAtOnce, m.records)
			if _, _, err := m.keeper.Write(within, m.project, m.made(from, to)); err != nil {
				return err
			}
			// Who searches now and then has the index stored.
			_, err := m.keeper.Search(within, m.query(to-1))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	r.WritesPerS = float64(m.records) / time.Since(start).Seconds()
	return nil
}

// namespace is where the record with the number is. Those of one space are
// written one after the other.
func (m *searched) namespace(number int) string {
	return fmt.Sprintf("/actors/%d", number/((m.records+m.spaces-1)/m.spaces))
}

// firstSaid is when the first of the records was said.
var firstSaid = time.Date(2025, 1, 1, 9, 0, 0, 0, time.UTC)

// made makes records: messages of conversations, and of each five one that is a
// fact.
func (m *searched) made(from, to int) []memory.Record {
	list := make([]memory.Record, 0, to-from)
	for n := from; n < to; n++ {
		r := memory.Record{
			Namespace: m.namespace(n) + "/said", Strategy: memory.Turn, Origin: memory.OriginUser,
			Text:      m.said(n),
			ValidFrom: firstSaid.Add(time.Duration(n) * time.Minute),
			Source:    memory.Source{SessionID: fmt.Sprintf("sess_%d", n/dialogue), Speaker: [2]string{"Ann", "Ben"}[n%2], Position: int64(n%dialogue + 1)},
		}
		if n%5 == 4 {
			r.Namespace, r.Strategy = m.namespace(n)+"/facts", memory.Semantic
			r.Source = memory.Source{SessionID: r.Source.SessionID}
		}
		list = append(list, r)
	}
	return list
}

// query asks for the record with the number, in its space.
func (m *searched) query(number int) memory.Query {
	return memory.Query{Project: m.project, Namespaces: []string{m.namespace(number)}, Text: m.speech.question(number)}
}

// first searches each space once, and then sees what is found and what it takes
// in memory.
func (m *searched) first(ctx context.Context, r *SearchedMemory) error {
	before := heap()
	u, err := m.store.Usage(ctx)
	if err != nil {
		return err
	}
	r.StoredBytes = float64(u.Bytes-m.empty) / float64(m.records)
	for n := 0; n < m.records; n += max(m.records/m.spaces, 1) {
		start := time.Now()
		if _, err := m.keeper.Search(ctx, m.query(n)); err != nil {
			return err
		}
		if n == 0 {
			r.FirstMS = ms(time.Since(start))
		}
	}
	r.MemoryBytes = (float64(heap()) - float64(before)) / float64(m.records)
	pick, hits := random(3, 0), 0
	for range asked {
		n := pick.IntN(m.records)
		found, err := m.keeper.Search(ctx, m.query(n))
		if err != nil {
			return err
		}
		text := m.said(n)
		if slices.ContainsFunc(found.Hits, func(h memory.Hit) bool { return h.Text == text }) {
			hits++
		}
	}
	r.Found = float64(hits) / asked
	return nil
}

// said is the text of the record with the number.
func (m *searched) said(number int) string { return strings.Join(m.speech.text(number), " ") + "." }

// search has clients search, each as soon as it has its answer.
func (m *searched) search(ctx context.Context, clients int) (*Searches, error) {
	took := make([][]time.Duration, clients)
	start := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	for c := range clients {
		g.Go(func() error {
			pick := random(4, c)
			for time.Since(start) < m.Duration || len(took[c]) == 0 {
				q := m.query(pick.IntN(m.records))
				began := time.Now()
				if _, err := m.keeper.Search(ctx, q); err != nil {
					return err
				}
				took[c] = append(took[c], time.Since(began))
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	all := slices.Concat(took...)
	return &Searches{Clients: clients, PerS: float64(len(all)) / time.Since(start).Seconds(), Timing: timing(all)}, nil
}

// heap is how much memory is in use.
func heap() uint64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}
