package session_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/loop"
	"github.com/stayd/stayd/internal/session"
)

// FuzzFold folds logs of arbitrary records: a line is a kind, a space and data.
// Whatever they are, folding returns a state that can be read and decided on, or
// an error; it never panics.
func FuzzFold(f *testing.F) {
	logs, err := filepath.Glob("testdata/golden/*.log")
	if err != nil || len(logs) == 0 {
		f.Fatalf("no golden logs: %v", err)
	}
	for _, name := range logs {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := session.New("sess_1")
		at := time.Unix(1_800_000_000, 0).UTC()
		for line := range bytes.Lines(data) {
			kind, payload, _ := bytes.Cut(bytes.TrimRight(line, "\n"), []byte(" "))
			r := event.Record{
				Session: s.ID, Seq: s.Seq + 1, Time: at, Kind: event.Kind(kind), Version: event.Version,
				Data: payload, Salt: make([]byte, event.SaltSize),
			}
			r.Seal(s.Hash)
			if session.Fold(s, &r) != nil {
				return
			}
			if s.Seq != r.Seq || s.Hash != r.Hash {
				t.Fatalf("the state is at %d, the record is %d", s.Seq, r.Seq)
			}
			s.Request()
			s.RequestHash()
			s.ContextTokens()
			if n := s.Compactable(); n > 0 {
				s.CompactionRequest(n)
			}
			loop.Next(s, loop.Moment{Now: at, Epoch: 2})
			if waits := len(s.RequiredActions()) > 0; s.Status() == session.RequiresAction && !waits {
				t.Fatal("the session requires an action and names none")
			}
			at = at.Add(time.Second)
		}
	})
}
