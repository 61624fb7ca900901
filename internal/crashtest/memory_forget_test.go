package crashtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/keeper"
	"github.com/stayd/stayd/internal/pgtest"
	"github.com/stayd/stayd/internal/store"
)

const (
	// forgets is how many forgettings TestMemoryForgets has acknowledged in all.
	forgets = 300
	// secretWord is in every text that is forgotten, and nowhere else.
	secretWord = "wintergreen"
)

// TestMemoryForgets kills a process that forgets turns, of which each was drawn
// from in two other spaces, with SIGKILL, over and over. After every kill nothing
// is there of what was acknowledged as forgotten, and nothing that was drawn from a
// turn is there without it. Where the process died half-way, forgetting again
// reaches the rest. At the end no word is in the files of SQLite.
func TestMemoryForgets(t *testing.T) {
	for _, name := range strings.Split(*stores, ",") {
		t.Run(name, func(t *testing.T) {
			m := memoryTest{t: t, job: memoryJob{Store: name, Forget: true}, nums: make(map[string]int64)}
			folder := t.TempDir()
			switch name {
			case "sqlite":
				m.job.Place = filepath.Join(folder, "stayd.db")
			case "postgres":
				m.job.Place = pgtest.Start(t)
			default:
				t.Fatalf("there is no store %q", name)
			}
			m.forget()
			if name == "sqlite" {
				noWord(t, folder)
			}
		})
	}
}

func (m *memoryTest) forget() {
	from := *seed
	if from == 0 {
		from = uint64(time.Now().UnixNano())
	}
	rng := rand.New(rand.NewPCG(from, 0))
	halfway := 0
	for kill := range *kills {
		more := 1 + rng.IntN(1 + 2*forgets / *kills)
		if kill == *kills-1 {
			more = max(more, forgets-len(m.nums))
		}
		m.kill(more, time.Duration(rng.IntN(30_000))*time.Microsecond, false)
		halfway += m.checkForgotten()
		if m.t.Failed() {
			m.t.Fatalf("after kill %d, with seed %d", kill+1, from)
		}
	}
	m.t.Logf("%d forgettings acknowledged, %d kills, %d found half written or half forgotten", len(m.nums), *kills, halfway)
}

// checkForgotten looks for what every writer has forgotten, and forgets what it
// was at. It returns how many of these were found without all of their records.
func (m *memoryTest) checkForgotten() (halfway int) {
	m.t.Helper()
	s, err := openMemories(m.t.Context(), m.job.Store, m.job.Place)
	if err != nil {
		m.t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			m.t.Error(err)
		}
	}()
	k := newKeeper(s)
	there := func(id string) bool {
		_, err := k.Get(m.t.Context(), project, id)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			m.t.Fatal(err)
		}
		return err == nil
	}
	for w, acknowledged := range m.job.Acknowledged {
		next := storyOf(w, acknowledged+1)
		turn := there(next[0].ID)
		for _, r := range next[1:] {
			drawn := there(r.ID)
			if drawn && !turn {
				m.t.Errorf("%s is there, and the turn that it was drawn from is not", r.ID)
			}
			if turn && !drawn {
				halfway++
			}
		}
		_, err := k.Forget(m.t.Context(), project, keeper.Selection{ID: next[0].ID}, "")
		if err != nil && (turn || !errors.Is(err, store.ErrNotFound)) {
			m.t.Error(err)
		}
		for i := 1; i <= acknowledged+1; i++ {
			for _, r := range storyOf(w, i) {
				if there(r.ID) {
					m.t.Errorf("%s of writer %d, story %d, is there after it was forgotten", r.ID, w, i)
				}
			}
		}
	}
	return halfway
}

func newKeeper(s store.Store) *keeper.Keeper {
	return keeper.New(keeper.Config{Store: s, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
}

// storyOf is a turn, a fact that was drawn from it, and a lesson that was drawn
// from the fact.
func storyOf(writer, n int) []memory.Record {
	story := make([]memory.Record, 3)
	for i, strategy := range []memory.Strategy{memory.Turn, memory.Semantic, memory.Episodic} {
		space := fmt.Sprintf("/%ss/%d", strategy, writer)
		story[i] = memory.Record{
			ID:        memory.ID(project, space, fmt.Sprintf("story %d", n)),
			Namespace: space + "/all", Strategy: strategy, Text: fmt.Sprintf("The %s %d says %s.", secretWord, n, strings.Repeat(secretWord, n%40)),
		}
		if i > 0 {
			story[i].Source.RecordIDs = []string{story[i-1].ID}
		}
	}
	return story
}

// forgetMemories is the process that is killed. It ends only after an error.
func forgetMemories(j *memoryJob, out io.Writer) error {
	s, err := openMemories(context.Background(), j.Store, j.Place)
	if err != nil {
		return err
	}
	k := newKeeper(s)
	var say sync.Mutex
	failed := make(chan error)
	for w, acknowledged := range j.Acknowledged {
		go func() {
			for i := acknowledged + 1; ; i++ {
				err := forgetStory(k, w, i)
				if err != nil {
					failed <- fmt.Errorf("writer %d, story %d: %w", w, i, err)
					return
				}
				say.Lock()
				err = json.NewEncoder(out).Encode(memoryAck{Writer: w, Write: i})
				say.Unlock()
				if err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	return <-failed
}

func forgetStory(k *keeper.Keeper, writer, n int) error {
	story := storyOf(writer, n)
	for i := range story {
		if _, _, err := k.Write(context.Background(), project, story[i:i+1]); err != nil {
			return err
		}
	}
	_, err := k.Forget(context.Background(), project, keeper.Selection{ID: story[0].ID}, "")
	return err
}

// noWord looks for the word in the files of a closed store, which is opened and
// closed again until what its process left to do is done.
func noWord(t *testing.T, folder string) {
	t.Helper()
	for attempt := 0; ; attempt++ {
		files, err := filepath.Glob(filepath.Join(folder, "stayd.db*"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%d files, %v", len(files), err)
		}
		found := 0
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			found += bytes.Count(b, []byte(secretWord))
		}
		if found == 0 {
			return
		}
		if attempt == 10 {
			t.Fatalf("the word is %d times in the files after everything was forgotten", found)
		}
		s, err := openMemories(t.Context(), "sqlite", filepath.Join(folder, "stayd.db"))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
