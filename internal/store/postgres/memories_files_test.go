package postgres_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/pgtest"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/store/postgres"
)

// canaries is how many words are planted.
const canaries = 200

// canary is a word that is nowhere else.
func canary(i int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "canary %d", i))
	return fmt.Sprintf("canary-%04d-%s", i, hex.EncodeToString(sum[:6]))
}

// remembered is a record that has a word in all that it can have it in, the
// space left out.
func remembered(space, key, word string, words int) memory.Record {
	text := func(what string) string { return what + word }
	return memory.Record{
		ID: memory.ID("p", space, key), Namespace: space + "/" + text("n"), Strategy: memory.Semantic, Origin: memory.OriginUser,
		Actor: text("actor"), Text: strings.Repeat(text(" x"), words), Metadata: map[string]string{text("k"): text("v")},
		Source:     memory.Source{SessionID: text("session"), TurnID: text("turn"), Speaker: text("speaker"), Label: text("label"), ItemIDs: []string{text("item")}},
		RecordedAt: time.UnixMicro(1_700_000_000_000_000),
	}
}

// plants are records with words among others, in one space of a server of their
// own.
type plants struct {
	*testing.T
	url   string
	s     *postgres.Store
	db    *pgx.Conn
	words []int64 // numbers of the records with a word
}

const plantSpace = "/a/1"

// plant writes records on a server with some settings.
func plant(t *testing.T, settings ...string) *plants {
	t.Helper()
	url := pgtest.NewCluster(t).Database(t, "forgetting")
	db, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	p := &plants{T: t, url: url, db: db}
	t.Cleanup(func() {
		if err := db.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	p.run(append(settings, `SELECT pg_reload_conf()`)...)
	p.open()
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range canaries {
		// Texts stay so short that the server does not compress them.
		add := []memory.Record{remembered(plantSpace, canary(i), canary(i), 1+rng.IntN(40))}
		for j := range 10 {
			n := canaries + i*10 + j
			add = append(add, remembered(plantSpace, canary(n), canary(n), 1+rng.IntN(30)))
		}
		num := p.write(&store.MemoryWrite{Add: add})[0].Num
		p.words = append(p.words, num)
		p.write(&store.MemoryWrite{Vectors: []store.MemoryVector{{Num: num, Vector: []byte("vector " + canary(i)), Model: "m"}}})
	}
	var data []byte
	for i := range canaries {
		data = append(data, strings.Repeat(canary(i), 50)...)
	}
	if err := p.s.PutSegment(t.Context(), "p", plantSpace, 0, store.Segment{From: 1, To: 10, Size: int64(len(data))}, data); err != nil {
		t.Fatal(err)
	}
	p.run("ANALYZE", "CHECKPOINT")
	return p
}

func (p *plants) open() {
	p.Helper()
	s, err := postgres.Open(p.Context(), p.url)
	if err != nil {
		p.Fatal(err)
	}
	p.s = s
	p.Cleanup(func() {
		if err := s.Close(); err != nil {
			p.Error(err)
		}
	})
}

func (p *plants) run(statements ...string) {
	p.Helper()
	for _, q := range statements {
		if _, err := p.db.Exec(p.Context(), q); err != nil {
			p.Fatalf("%s: %v", q, err)
		}
	}
}

func (p *plants) write(w *store.MemoryWrite) []memory.Record {
	p.Helper()
	w.Project, w.Space = "p", plantSpace
	got, err := p.s.WriteMemories(p.Context(), w)
	if err != nil {
		p.Fatal(err)
	}
	return got.Records
}

func (p *plants) forgetAll() {
	p.Helper()
	for some := range slices.Chunk(p.words, 7) {
		if n, err := p.s.ForgetMemories(p.Context(), "p", plantSpace, some); err != nil || n != len(some) {
			p.Fatalf("forget %d records: %d, %v", len(some), n, err)
		}
	}
}

// planted counts the words in the files of the server: by the name of the table
// or the index, and those of the write-ahead log by its folder.
func (p *plants) planted() map[string]int {
	p.Helper()
	var root string
	if err := p.db.QueryRow(p.Context(), "SHOW data_directory").Scan(&root); err != nil {
		p.Fatal(err)
	}
	words := make(map[string]map[string]bool)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && d.IsDir() {
			return nil
		}
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		found := make(map[string]bool)
		for i := range canaries {
			if bytes.Contains(b, []byte(canary(i))) {
				found[canary(i)] = true
			}
		}
		if len(found) == 0 {
			return nil
		}
		name, err := p.relation(root, path)
		if err != nil {
			return err
		}
		if words[name] == nil {
			words[name] = make(map[string]bool)
		}
		maps.Copy(words[name], found)
		return nil
	})
	if err != nil {
		p.Fatal(err)
	}
	counts := make(map[string]int, len(words))
	for name, list := range words {
		counts[name] = len(list)
	}
	return counts
}

// relation names what a file of the server holds.
func (p *plants) relation(root, path string) (name string, err error) {
	path = strings.TrimPrefix(path, root+"/")
	if folder := filepath.Dir(path); folder == "pg_wal" {
		return folder, nil
	}
	err = p.db.QueryRow(p.Context(), `SELECT coalesce(
		(SELECT 'data of ' || o.relname FROM pg_class c JOIN pg_class o ON o.reltoastrelid = c.oid WHERE pg_relation_filepath(c.oid) = $1),
		(SELECT c.relname FROM pg_class c WHERE pg_relation_filepath(c.oid) = $1), $1)`, path).Scan(&name)
	return name, err
}

// stored counts the words that any table, or the statistics of one, has for
// whoever may read all of the database.
func (p *plants) stored() (n int) {
	p.Helper()
	err := p.db.QueryRow(p.Context(), `SELECT
		(SELECT count(*) FROM memories m WHERE m.num = ANY($1::int[])) + (SELECT count(*) FROM memory_segments) +
		(SELECT count(*) FROM pg_stats s WHERE s::text LIKE '%canary-%' AND s.tablename LIKE 'memor%')`, p.words).Scan(&n)
	if err != nil {
		p.Fatal(err)
	}
	return n
}

// TestWhatForgettingLeaves says in which files of the server the words of
// forgotten records are, step by step. The server does nothing by itself here.
func TestWhatForgettingLeaves(t *testing.T) {
	t.Parallel()
	p := plant(t, `ALTER SYSTEM SET autovacuum = off`)
	expect := func(when string, want map[string]int) {
		t.Helper()
		if got := p.planted(); !maps.Equal(got, want) {
			t.Errorf("%s words are in %v, want %v", when, got, want)
		}
	}
	// Neither indexes nor statistics ever had one.
	expect("before they are forgotten", map[string]int{"memories": canaries, "data of memory_segments": canaries, "pg_wal": canaries})
	p.forgetAll()
	if n := p.stored(); n > 0 {
		t.Errorf("%d words can be read after they were forgotten", n)
	}
	// The server frees what was deleted. The gaps in pages that other records have
	// too are overwritten as far as those move, and by what is written next.
	p.run("VACUUM memories", "VACUUM memory_segments", "CHECKPOINT")
	left := p.planted()
	if n := left["memories"]; n >= canaries/2 {
		t.Errorf("after the server freed what was deleted, %d words are in the table, want less than half of them", n)
	}
	delete(left, "memories")
	if want := map[string]int{"pg_wal": canaries}; !maps.Equal(left, want) {
		t.Errorf("after the server freed what was deleted, words are in %v beside the table, want %v", left, want)
	}
	p.run("VACUUM FULL memories, memory_segments", "CHECKPOINT")
	expect("after the tables were written anew", map[string]int{"pg_wal": canaries})
}

// TestForgottenMemoriesAreVacuumed leaves it to the server, which looks once a
// minute by default, to free the few rows of a table that were forgotten.
func TestForgottenMemoriesAreVacuumed(t *testing.T) {
	t.Parallel()
	p := plant(t, `ALTER SYSTEM SET autovacuum_naptime = 1`)
	// What the server was told of so far, which is when its connections end, is no
	// longer a reason for it.
	if err := p.s.Close(); err != nil {
		t.Fatal(err)
	}
	p.run(`VACUUM memories`, `VACUUM memory_segments`)
	p.open()
	if n, err := p.s.ForgetMemories(t.Context(), "p", plantSpace, p.words[:3]); err != nil || n != 3 {
		t.Fatalf("forget 3 records: %d, %v", n, err)
	}
	if err := p.s.Close(); err != nil {
		t.Fatal(err)
	}
	var forgotten time.Time
	if err := p.db.QueryRow(t.Context(), `SELECT clock_timestamp()`).Scan(&forgotten); err != nil {
		t.Fatal(err)
	}
	p.until("the server freed the rows that were forgotten", func() bool {
		var freed bool
		err := p.db.QueryRow(t.Context(), `SELECT count(*) = 2 FROM pg_stat_all_tables
			WHERE (relname = 'memories' OR relid = (SELECT reltoastrelid FROM pg_class WHERE relname = 'memory_segments'))
			AND last_autovacuum > $1 AND n_dead_tup = 0`, forgotten).Scan(&freed)
		if err != nil {
			t.Fatal(err)
		}
		return freed
	})
}

// until waits for what the server does by itself.
func (p *plants) until(what string, done func() bool) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.Context(), time.Minute)
	defer cancel()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for !done() {
		select {
		case <-poll.C:
		case <-ctx.Done():
			p.Fatalf("it did not come to this: %s", what)
		}
	}
}
