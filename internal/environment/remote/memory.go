package remote

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/stayd/stayd/internal/fsync"
)

// What a Memory keeps: the last effects, and of the last of these, what they gave.
const (
	keptEffects = 10_000
	keptResults = 256
	keptBytes   = 32 << 20
)

// rewriteAt is the size of the file in bytes from which it is written anew.
const rewriteAt = 2 * keptBytes

// Memory knows which effects were begun on a machine, and what they gave. It is
// a file of JSON lines, each of which is durable before what follows from it is
// done: the beginning of an effect before it is begun, its result before the
// runtime is told, where the disk takes it. It is safe for use by many goroutines.
type Memory struct {
	mu      sync.Mutex
	name    string
	file    *os.File
	size    int64
	broken  error // of a write, after which nothing is known of the file's end
	effects map[string]*memory
	order   []string // the effects, the oldest first
	results []string // those whose result is kept, the oldest first
	bytes   int      // of the results
}

// memory is what is known of one effect.
type memory struct {
	Call   string          // the hash of what was asked
	Result json.RawMessage // nil: none, or it was forgotten
}

// line is a line of the file.
type line struct {
	Begin  string          `json:"begin,omitempty"` // an effect's id
	Call   string          `json:"call,omitempty"`  // the hash of what was asked
	End    string          `json:"end,omitempty"`   // an effect's id
	Result json.RawMessage `json:"result,omitempty"`
}

// ErrInUse says that another process has the memory open.
var ErrInUse = errors.New("another process uses it")

// OpenMemory opens the memory in the file, and makes it where there is none. The
// error is, or wraps, ErrInUse where another process has it.
func OpenMemory(name string) (*Memory, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the memory of effects: %w", err)
	}
	m := &Memory{name: name, file: f, effects: map[string]*memory{}}
	if err := m.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("open the memory of effects %s: %w", name, err), f.Close())
	}
	return m, nil
}

func (m *Memory) load() error {
	if err := lock(m.file); err != nil {
		return err
	}
	in := bufio.NewReader(m.file)
	for {
		b, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break // what is left is a line that a crash cut off
		}
		if err != nil {
			return err
		}
		var l line
		if err := json.Unmarshal(b, &l); err != nil {
			return fmt.Errorf("the line at byte %d is damaged: %w; if it is removed, no command of the session may be under way", m.size, err)
		}
		m.size += int64(len(b))
		m.learn(&l)
	}
	if err := m.file.Truncate(m.size); err != nil {
		return err
	}
	if _, err := m.file.Seek(m.size, io.SeekStart); err != nil {
		return err
	}
	return fsync.Folder(filepath.Dir(m.name))
}

// learn takes up a line.
func (m *Memory) learn(l *line) {
	if e := m.effects[l.Begin]; e != nil {
		m.forget(l.Begin) // it is begun again
	} else if l.Begin != "" {
		m.effects[l.Begin] = &memory{Call: l.Call}
		m.order = append(m.order, l.Begin)
	}
	if e := m.effects[l.End]; e != nil && e.Result == nil {
		e.Result = l.Result
		m.results = append(m.results, l.End)
		m.bytes += len(l.Result)
	}
	for len(m.results) > keptResults || (m.bytes > keptBytes && len(m.results) > 1) {
		m.forget(m.results[0])
	}
	for len(m.order) > keptEffects {
		oldest := m.order[0]
		if m.effects[oldest].Result != nil {
			break
		}
		delete(m.effects, oldest)
		m.order = m.order[1:]
	}
}

// forget forgets what an effect gave.
func (m *Memory) forget(id string) {
	i := slices.Index(m.results, id)
	if i < 0 {
		return
	}
	e := m.effects[id]
	m.bytes -= len(e.Result)
	e.Result = nil
	m.results = slices.Delete(m.results, i, i+1)
}

// known returns what is known of an effect, or nil.
func (m *Memory) known(id string) *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.effects[id]; e != nil {
		found := *e
		return &found
	}
	return nil
}

// begin notes that an effect is about to be begun.
func (m *Memory) begin(id, call string) error {
	return m.add(&line{Begin: id, Call: call})
}

// end notes what an effect gave.
func (m *Memory) end(id string, r *result) error {
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode a result: %w", err)
	}
	return m.add(&line{End: id, Result: b})
}

func (m *Memory) add(l *line) error {
	b, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("encode a line: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken != nil {
		return m.broken
	}
	n, err := m.file.Write(append(b, '\n'))
	if err == nil {
		err = m.file.Sync()
	}
	if err != nil {
		m.broken = fmt.Errorf("write the memory of effects: %w", err)
		return m.broken
	}
	m.size += int64(n)
	m.learn(l)
	if m.size > rewriteAt {
		if err := m.rewrite(); err != nil {
			m.broken = fmt.Errorf("write the memory of effects anew: %w", err)
			return m.broken
		}
	}
	return nil
}

// rewrite writes what is kept into a new file, which takes the place of the old.
func (m *Memory) rewrite() error {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	for _, id := range m.order {
		if err := enc.Encode(line{Begin: id, Call: m.effects[id].Call}); err != nil {
			return err
		}
	}
	for _, id := range m.results {
		if err := enc.Encode(line{End: id, Result: m.effects[id].Result}); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(m.name+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = lock(f)
	if err == nil {
		_, err = f.Write(out.Bytes())
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(f.Name(), m.name)
	}
	if err == nil {
		err = fsync.Folder(filepath.Dir(m.name))
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	old := m.file
	m.file, m.size = f, int64(out.Len())
	m.order = slices.Clip(m.order)
	return old.Close()
}

// Close closes the file.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.broken = errors.New("the memory of effects was closed")
	return m.file.Close()
}

// hashOf is what tells one call from another that has its effect id.
func hashOf(c *call) string {
	sum := sha256.Sum256(append([]byte(c.Name+"\n"), c.Arguments...))
	return hex.EncodeToString(sum[:16])
}
