package crashtest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/pgtest"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/store/postgres"
	"github.com/stayd/stayd/internal/store/sqlite"
)

const (
	// memoryWrites is how many writes TestMemoryWrites has acknowledged in all.
	memoryWrites = 10_000
	// memoryWriters write at the same time, two of them to each space.
	memoryWriters = 8
	// envMemory has the process write memories: it has a memoryJob.
	envMemory = "CRASHTEST_MEMORY"
)

// memoryJob says where a process writes, and which writes are acknowledged, by
// writer.
type memoryJob struct {
	Store, Place string
	Acknowledged [memoryWriters]int
	// Forget has what is written forgotten at once: see TestMemoryForgets.
	Forget bool `json:",omitempty"`
}

// memoryAck is what a process prints of a write that it has read back.
type memoryAck struct {
	Writer, Write int
	Num           int64
}

// TestMemoryWrites kills a process that writes memories with SIGKILL, over and
// over. A write counts as acknowledged when it was read through another
// connection at once. Each of those is expected to be there once, after every
// kill, and one that the process did not live to acknowledge is written again.
func TestMemoryWrites(t *testing.T) {
	for _, name := range strings.Split(*stores, ",") {
		t.Run(name, func(t *testing.T) {
			m := memoryTest{t: t, job: memoryJob{Store: name}, nums: make(map[string]int64)}
			switch name {
			case "sqlite":
				m.job.Place = filepath.Join(t.TempDir(), "stayd.db")
			case "postgres":
				c := pgtest.NewCluster(t)
				m.job.Place = c.Database(t, "crashtest")
				m.crashStore = func() {
					c.Crash(t)
					c.Start(t)
				}
			default:
				t.Fatalf("there is no store %q", name)
			}
			m.run()
		})
	}
}

func openMemories(ctx context.Context, name, place string) (store.Store, error) {
	if name == "postgres" {
		return postgres.Open(ctx, place)
	}
	return sqlite.Open(ctx, place, sqlite.Options{})
}

type memoryTest struct {
	t          *testing.T
	job        memoryJob
	crashStore func()
	nums       map[string]int64 // of what is acknowledged, by id
}

func (m *memoryTest) run() {
	from := *seed
	if from == 0 {
		from = uint64(time.Now().UnixNano())
	}
	rng := rand.New(rand.NewPCG(from, 0))
	for kill := range *kills {
		more := 1 + rng.IntN(1 + 2*memoryWrites / *kills)
		if kill == *kills-1 {
			more = max(more, memoryWrites-len(m.nums))
		}
		m.kill(more, time.Duration(rng.IntN(5000))*time.Microsecond, kill%2 == 1)
		m.check()
		if m.t.Failed() {
			m.t.Fatalf("after kill %d, with seed %d", kill+1, from)
		}
	}
	m.t.Logf("%d writes acknowledged, %d kills", len(m.nums), *kills)
}

// kill starts a process, waits until it has acknowledged some more writes, and
// kills it a moment later. With crash the store crashes before that, if it can.
func (m *memoryTest) kill(more int, after time.Duration, crash bool) {
	m.t.Helper()
	self, err := os.Executable()
	if err != nil {
		m.t.Fatal(err)
	}
	job, err := json.Marshal(m.job)
	if err != nil {
		m.t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), envMemory+"="+string(job))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	n := 0
	for ; n < more && m.acknowledge(lines); n++ {
		if n == more/2 && crash && m.crashStore != nil {
			m.crashStore()
		}
	}
	if n == more {
		time.Sleep(after)
	}
	if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		m.t.Fatal(err)
	}
	// What it said before it died is acknowledged too.
	for m.acknowledge(lines) {
		n++
	}
	cmd.Wait() // it was killed, and says so
	if n < more {
		m.t.Fatalf("the process ended by itself after %d of %d writes:\n%s", n, more, stderr.String())
	}
}

func (m *memoryTest) acknowledge(lines *bufio.Scanner) bool {
	if !lines.Scan() {
		return false
	}
	var a memoryAck
	if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
		m.t.Errorf("the process said %q", lines.Text())
		return false
	}
	if want := m.job.Acknowledged[a.Writer] + 1; a.Write != want {
		m.t.Errorf("writer %d acknowledges write %d, want %d", a.Writer, a.Write, want)
	}
	m.job.Acknowledged[a.Writer] = a.Write
	m.nums[memoryOf(a.Writer, a.Write).ID] = a.Num
	return true
}

// check reads all that is there. Of each writer there may be one record more
// than it acknowledged.
func (m *memoryTest) check() {
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
	seen := make(map[string]int)
	for space := range memoryWriters / 2 {
		for _, r := range m.read(s, memorySpace(space)) {
			seen[r.ID]++
			if num, ok := m.nums[r.ID]; ok && num != r.Num {
				m.t.Errorf("record %s has number %d, acknowledged was %d", r.ID, r.Num, num)
			}
		}
	}
	for w, acknowledged := range m.job.Acknowledged {
		for i := 1; i <= acknowledged+1; i++ {
			id := memoryOf(w, i).ID
			if n := seen[id]; n != 1 && (i <= acknowledged || n > 1) {
				m.t.Errorf("write %d of writer %d is there %d times", i, w, n)
			}
			delete(seen, id)
		}
	}
	for id, n := range seen {
		m.t.Errorf("record %s is there %d times, and nobody wrote it", id, n)
	}
}

// read returns the records of a space, and checks how they are counted.
func (m *memoryTest) read(s store.Store, space string) (all []memory.Record) {
	m.t.Helper()
	for after := int64(0); ; {
		sp, page, err := s.MemoryChanges(m.t.Context(), project, space, after, 1000)
		if err != nil {
			m.t.Fatal(err)
		}
		all = append(all, page...)
		if len(page) == 0 {
			if sp.Records != int64(len(all)) || sp.Change != after {
				m.t.Errorf("%s says that it has %d records and %d changes; there are %d, the last change is %d", space, sp.Records, sp.Change, len(all), after)
			}
			return all
		}
		after = page[len(page)-1].Change
	}
}

func memorySpace(n int) string { return fmt.Sprintf("/actors/%d", n) }

// memoryOf is what a writer writes.
func memoryOf(writer, write int) memory.Record {
	space := memorySpace(writer / 2)
	return memory.Record{
		ID:        memory.ID(project, space, fmt.Sprintf("writer %d, write %d", writer, write)),
		Namespace: space + "/facts", Strategy: memory.Semantic, Origin: memory.OriginClient,
		Actor: fmt.Sprintf("actor %d", write%10), Text: fmt.Sprintf("writer %d says %s", writer, strings.Repeat("so ", write%50)),
		RecordedAt: time.UnixMicro(int64(write)).UTC(),
	}
}

// writeMemories is the process that is killed. It ends only after an error.
func writeMemories(job string, out io.Writer) error {
	var j memoryJob
	if err := json.Unmarshal([]byte(job), &j); err != nil {
		return err
	}
	if j.Forget {
		return forgetMemories(&j, out)
	}
	s, err := openMemories(context.Background(), j.Store, j.Place)
	if err != nil {
		return err
	}
	other, err := openMemories(context.Background(), j.Store, j.Place)
	if err != nil {
		return err
	}
	var say sync.Mutex
	failed := make(chan error)
	for w, acknowledged := range j.Acknowledged {
		go func() {
			for i := acknowledged + 1; ; i++ {
				num, err := writeMemory(s, other, w, i)
				if err != nil {
					failed <- fmt.Errorf("writer %d, write %d: %w", w, i, err)
					return
				}
				say.Lock()
				err = json.NewEncoder(out).Encode(memoryAck{w, i, num})
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

// writeMemory writes a record and reads it through another connection. A store
// that is away is asked again.
func writeMemory(s, other store.Store, writer, write int) (num int64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r := memoryOf(writer, write)
	space := memory.SpaceOf(r.Namespace)
	var written store.MemoryWritten
	err = insist(ctx, func() (err error) {
		written, err = s.WriteMemories(ctx, &store.MemoryWrite{Project: project, Space: space, Add: []memory.Record{r}})
		return err
	})
	if err != nil {
		return 0, err
	}
	want := written.Records[0]
	return want.Num, insist(ctx, func() error {
		got, err := other.Memory(ctx, project, r.ID)
		if err != nil {
			return err
		}
		_, changed, err := other.MemoryChanges(ctx, project, space, want.Change-1, 1)
		if err != nil {
			return err
		}
		if got.Text != r.Text || got.Num != want.Num || len(changed) != 1 || changed[0].ID != r.ID || changed[0].Change != want.Change {
			return fmt.Errorf("written was %+v, read are %+v and %+v", want, got, changed)
		}
		return nil
	})
}

func insist(ctx context.Context, f func() error) error {
	for {
		err := f()
		if !errors.Is(err, store.ErrUnavailable) || ctx.Err() != nil {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}
