package outside

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"
)

// What a line of the ledger says.
const (
	Arrived = "arrived" // a call was received; nothing has happened yet
	Took    = "took"    // the call took effect
	Cut     = "cut"     // the connection was cut instead of an answer
)

// Line is one line of the ledger.
type Line struct {
	At     time.Time       `json:"at"`
	What   string          `json:"what"`
	Tool   string          `json:"tool"`
	Effect string          `json:"effect"` // the id that the caller gave in _meta
	Key    string          `json:"key"`    // the idempotency key that the caller gave in _meta
	Args   json.RawMessage `json:"args"`
}

// Order is the argument "order" of a call: the caller gives every logical call
// an order of its own, so that calls are known without trusting any id of the
// runtime's.
func (l *Line) Order() string {
	var a struct {
		Order string `json:"order"`
	}
	if json.Unmarshal(l.Args, &a) != nil {
		return ""
	}
	return a.Order
}

// ledger is a file of lines, each of which is on the disk before anything comes
// of it.
type ledger struct {
	mu   sync.Mutex
	file *os.File
}

func openLedger(path string) (*ledger, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the ledger: %w", err)
	}
	return &ledger{file: f}, nil
}

func (l *ledger) write(what string, c *Call) error {
	data, err := json.Marshal(Line{At: time.Now().UTC(), What: what, Tool: c.Tool, Effect: c.Effect, Key: c.Key, Args: c.Args})
	if err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.file.Write(append(data, '\n')); err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	if err := l.file.Sync(); err != nil {
		return fmt.Errorf("sync the ledger: %w", err)
	}
	return nil
}

// ReadLedger returns the lines of a ledger.
func ReadLedger(path string) ([]Line, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the ledger: %w", err)
	}
	defer f.Close() // only read
	var lines []Line
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var l Line
		if err := json.Unmarshal(sc.Bytes(), &l); err != nil {
			return nil, fmt.Errorf("read line %d of the ledger: %w", len(lines)+1, err)
		}
		lines = append(lines, l)
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("read the ledger: %w", err)
	}
	return lines, nil
}
