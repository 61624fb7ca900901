package sqlite_test

import (
	"bytes"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/store/storetest"
)

func BenchmarkMemories(b *testing.B) { storetest.BenchmarkMemories(b, factory) }

// canaries is how many words are planted.
const canaries = 200

// canary is a word that is nowhere else.
func canary(i int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "canary %d", i))
	return fmt.Sprintf("canary-%d-%s", i, hex.EncodeToString(sum[:6]))
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

// plants are records with words among others, space by space.
type plants struct {
	t     *testing.T
	rng   *rand.Rand
	dir   string
	s     *file
	words map[string][]int64 // numbers of the records with a word
	other map[string][]int64 // of those without
}

func spaces() []string { return []string{"/a/1", "/a/2", "/a/3", "/a/4", "/a/5"} }

// plant writes records in an order in which pages are split and written anew.
func plant(t *testing.T) *plants {
	t.Helper()
	p := &plants{t: t, rng: rand.New(rand.NewPCG(1, 2)), dir: t.TempDir(), words: make(map[string][]int64), other: make(map[string][]int64)}
	p.s = open(t, p.path())
	for i := range canaries {
		space := spaces()[p.rng.IntN(len(spaces()))]
		r := p.write(&store.MemoryWrite{Space: space, Add: []memory.Record{remembered(space, canary(i), canary(i), 1+p.rng.IntN(1+i*i/100))}})
		p.words[space] = append(p.words[space], r[0].Num)
		var rest []memory.Record
		for j := range 20 {
			key := fmt.Sprintf("other %d %d", i, j)
			rest = append(rest, remembered(space, key, canary(canaries+i*20+j), 1+p.rng.IntN(30)))
		}
		for _, r := range p.write(&store.MemoryWrite{Space: space, Add: rest}) {
			p.other[space] = append(p.other[space], r.Num)
		}
	}
	for _, space := range spaces() {
		p.lengthen(space)
	}
	// Others go first, so that what stays is moved.
	for _, space := range spaces() {
		for some := range slices.Chunk(p.other[space], 40) {
			p.forget(space, slices.DeleteFunc(slices.Clone(some), func(int64) bool { return p.rng.IntN(3) == 0 })...)
		}
	}
	if got, parts := planted(t, p.dir), fragments(t, p.dir); got != canaries || parts != canaries {
		t.Fatalf("%d of %d words and parts of %d can be found before they are forgotten: this test proves nothing", got, canaries, parts)
	}
	return p
}

func (p *plants) path() string { return filepath.Join(p.dir, "stayd.db") }

func (p *plants) write(w *store.MemoryWrite) []memory.Record {
	p.t.Helper()
	w.Project = "p"
	got, err := p.s.WriteMemories(p.t.Context(), w)
	if err != nil {
		p.t.Fatal(err)
	}
	return got.Records
}

// lengthen gives a space's records vectors, and the space an index.
func (p *plants) lengthen(space string) {
	p.t.Helper()
	for i, list := range [][]int64{p.words[space], p.other[space]} {
		for some := range slices.Chunk(list, 40) {
			w := &store.MemoryWrite{Space: space}
			for _, num := range some {
				text := []string{canary(int(num) % canaries), noise(20)}[i]
				v := []byte(strings.Repeat("v"+text, 1+p.rng.IntN(20)))
				w.Vectors = append(w.Vectors, store.MemoryVector{Num: num, Vector: v, Model: "m"})
			}
			p.write(w)
			p.use(space, some)
		}
	}
	for i := range int64(3) {
		data := []byte(strings.Repeat(canary(int(i)), 100_000))
		if err := p.s.PutSegment(p.t.Context(), "p", space, 0, store.Segment{From: 1, To: 10 + i, Size: int64(len(data))}, data); err != nil {
			p.t.Fatal(err)
		}
	}
}

// use counts a use of records, which makes their rows longer.
func (p *plants) use(space string, nums []int64) {
	p.t.Helper()
	list, err := p.s.MemoriesByNum(p.t.Context(), "p", space, nums)
	if err != nil {
		p.t.Fatal(err)
	}
	var uses []store.MemoryUse
	for i := range list {
		uses = append(uses, store.MemoryUse{ID: list[i].ID, Times: 1, At: time.Now()})
	}
	if err := p.s.UseMemories(p.t.Context(), "p", uses); err != nil {
		p.t.Fatal(err)
	}
}

func (p *plants) forget(space string, nums ...int64) {
	p.t.Helper()
	if got, err := p.s.ForgetMemories(p.t.Context(), "p", space, nums); err != nil || got != len(nums) {
		p.t.Fatalf("forget %d records: %d, %v", len(nums), got, err)
	}
}

// someWords calls f with the numbers of all records with a word, a few at a time.
func (p *plants) someWords(f func(space string, nums []int64)) {
	for _, space := range spaces() {
		for list := p.words[space]; len(list) > 0; {
			k := min(len(list), 1+p.rng.IntN(9))
			f(space, list[:k])
			list = list[k:]
		}
	}
}

func (p *plants) forgetAll() {
	p.t.Helper()
	p.someWords(func(space string, nums []int64) { p.forget(space, nums...) })
}

// gone waits until no word is in the files of the open store.
func (p *plants) gone() {
	p.t.Helper()
	left := planted(p.t, p.dir)
	for deadline := time.Now().Add(time.Minute); left > 0 && time.Now().Before(deadline); left = planted(p.t, p.dir) {
		time.Sleep(20 * time.Millisecond)
	}
	if left > 0 {
		p.t.Errorf("%d words are still in the files of the open store", left)
	}
}

// close closes the store, in whose file no word must be, and checks the file.
func (p *plants) close() {
	p.t.Helper()
	mustClose(p.t, p.s)
	if left := planted(p.t, p.dir); left > 0 {
		p.t.Errorf("%d words are still in the file of the closed store", left)
	}
	if left := fragments(p.t, p.dir); left > 0 {
		p.t.Errorf("parts of %d words are still in the file of the closed store", left)
	}
	db, err := sql.Open("sqlite", p.path())
	if err != nil {
		p.t.Fatal(err)
	}
	defer db.Close() // it is only read
	var result string
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&result); err != nil || result != "ok" {
		p.t.Errorf("check of the file: %s, %v", result, err)
	}
}

// TestForgottenMemoriesAreGone plants words in records that lie among others in pages
// that are split, merged and rewritten, and looks for them in the files.
func TestForgottenMemoriesAreGone(t *testing.T) {
	t.Parallel()
	p := plant(t)
	p.forgetAll()
	p.gone()
	p.close()
}

// TestForgottenMemoriesAreGoneAtClose closes the store at once.
func TestForgottenMemoriesAreGoneAtClose(t *testing.T) {
	t.Parallel()
	p := plant(t)
	p.forgetAll()
	p.close()
}

// TestForgottenMemoriesAreGoneMeanwhile goes on writing, so that pages are split
// while they are looked at and the store is never idle.
func TestForgottenMemoriesAreGoneMeanwhile(t *testing.T) {
	t.Parallel()
	p := plant(t)
	stop := make(chan struct{})
	var all sync.WaitGroup
	for n, space := range spaces() {
		all.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				r := remembered(space, fmt.Sprintf("new %d", i), canary(canaries*(30+n)+i), 1+i%30)
				if _, err := p.s.WriteMemories(t.Context(), &store.MemoryWrite{Project: "p", Space: space, Add: []memory.Record{r}}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	p.forgetAll()
	p.gone()
	close(stop)
	all.Wait()
	p.close()
}

// TestForgottenMemoriesAreGoneAfterADeath opens a file whose process died after it
// had forgotten records.
func TestForgottenMemoriesAreGoneAfterADeath(t *testing.T) {
	t.Parallel()
	p := plant(t)
	mustClose(t, p.s)
	// The store has cleaned up after itself: pages have to be split anew.
	var statements strings.Builder
	statements.WriteString(`PRAGMA secure_delete = ON; UPDATE memory_forgotten SET count = count + 1;
		UPDATE memories SET vector = randomblob(num % 5000) WHERE num % 3 = 0; DELETE FROM memory_segments; DELETE FROM memory_segment_data;`)
	p.someWords(func(space string, nums []int64) {
		for _, num := range nums {
			fmt.Fprintf(&statements, "DELETE FROM memories WHERE num = (SELECT num FROM memory_spaces WHERE name = '%s') << 32 | %d;", space, num)
		}
	})
	tamper(t, p.path(), statements.String()+"DELETE FROM memory_names WHERE num NOT IN (SELECT actor FROM memories) AND num NOT IN (SELECT session FROM memories)")
	if planted(t, p.dir) == 0 {
		t.Fatal("nothing is left of what was forgotten: this test proves nothing")
	}
	p.s = open(t, p.path())
	p.gone()
	p.close()
}

// planted counts which of the words are in the files.
func planted(t *testing.T, dir string) (found int) {
	t.Helper()
	all := contents(t, dir)
	const prefix = "canary-"
	missing := make(map[string]bool, canaries)
	for i := range canaries {
		missing[canary(i)] = true
	}
	for at := 0; ; at += len(prefix) {
		next := bytes.Index(all[at:], []byte(prefix))
		if next < 0 {
			return found
		}
		at += next
		word := all[at:min(at+len(canary(canaries-1)), len(all))]
		_, rest, _ := bytes.Cut(word[len(prefix):], []byte("-"))
		word = word[:min(len(word), len(word)-len(rest)+12)]
		if missing[string(word)] {
			missing[string(word)] = false
			found++
		}
	}
}

// contents is all that is in the files of a store: the database, the write-ahead
// log and its index.
func contents(t *testing.T, dir string) (all []byte) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "stayd.db*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	return all
}

// fragments counts the words of which eight digits in a row are in the files, as
// where a text is cut by the end of a page.
func fragments(t *testing.T, dir string) (found int) {
	t.Helper()
	const size = 8
	word := make(map[string]int)
	for i := range canaries {
		digits := canary(i)[len(canary(i))-12:]
		for at := range len(digits) - size + 1 {
			word[digits[at:at+size]] = i
		}
	}
	seen := make(map[int]bool)
	run := 0
	all := contents(t, dir)
	for at, c := range all {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			run = 0
			continue
		}
		if run++; run < size {
			continue
		}
		if i, ok := word[string(all[at-size+1:at+1])]; ok {
			seen[i] = true
		}
	}
	return len(seen)
}
