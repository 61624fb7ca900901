package sqlite_test

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/blob"
	"github.com/stayd/stayd/internal/blob/blobtest"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/store"
)

// fork makes a session with the first records of another.
func fork(tb testing.TB, s store.Store, epochs [store.Shards]int64, parent *chain, seq int, session string) *chain {
	tb.Helper()
	c := newChain(epochs, session)
	c.records = append([]event.Record(nil), parent.records[:seq]...)
	a := c.next(`"fork"`)
	a.Parent = &store.Parent{Session: parent.session, Seq: int64(seq)}
	a.Index = &store.Index{
		Project: "project", Session: session, AgentID: "agent_1", Status: "idle",
		CreatedAt: time.UnixMicro(int64(len(session))), UpdatedAt: time.UnixMicro(1),
	}
	if err := s.Append(tb.Context(), a); err != nil {
		tb.Fatalf("fork %s: %v", session, err)
	}
	c.took(a)
	return c
}

// TestBytesPerFork bounds what each of many forks of one long session adds to
// the file.
func TestBytesPerFork(t *testing.T) {
	const forks = 10_000
	path := filepath.Join(t.TempDir(), "stayd.db")
	s := open(t, path)
	epochs := claim(t, s)
	c := newChain(epochs, "session_parent")
	for range 100 {
		c.append(t, s, noise(8000))
	}
	mustClose(t, s)
	before := size(t, path)
	s = open(t, path)
	var last *chain
	for i := range forks {
		last = fork(t, s, epochs, c, 100, fmt.Sprintf("session_%032d", i))
	}
	last.check(t, s)
	mustClose(t, s)
	each := (size(t, path) - before) / forks
	t.Logf("a fork adds %d bytes", each)
	if each > 1024 {
		t.Errorf("a fork adds %d bytes, want at most 1024", each)
	}
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// TestForgottenIsGone looks in the file for what a parent forgot and its last
// fork had.
func TestForgottenIsGone(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "stayd.db"))
	epochs := claim(t, s)
	c := newChain(epochs, "s")
	c.append(t, s, `"`+secret+`"`)
	c.append(t, s, `"`+secret+noise(8000)[1:])
	f := fork(t, s, epochs, c, 2, "f")
	erase := func(c *chain) {
		t.Helper()
		a := c.next(`"tombstone"`)
		a.Erase = true
		if err := s.Append(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Collect(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
	}
	erase(c)
	f.check(t, s)
	erase(f)
	mustClose(t, s)
	if found(t, dir) {
		t.Error("the secret is still in the file")
	}
}

// TestPiecesAreGone looks in the file for a blob that was swept.
func TestPiecesAreGone(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "stayd.db"))
	random := make([]byte, 20_000) // which is kept as it is, and the secret in it
	rand.Read(random)              // never fails
	b := one(append(random, secret...))
	if err := s.Blobs().Put(t.Context(), "p", b); err != nil {
		t.Fatal(err)
	}
	if !found(t, dir) {
		t.Fatal("the secret cannot be found before it is swept: this test proves nothing")
	}
	n, err := s.Blobs().Sweep(t.Context(), "p", time.Now().Add(time.Minute), func(event.Hash) bool { return false })
	if err != nil || n != 1 {
		t.Fatalf("sweep: %d, %v", n, err)
	}
	mustClose(t, s)
	if found(t, dir) {
		t.Error("the secret is still in the file")
	}
}

func TestDamagedPieces(t *testing.T) {
	blobtest.RunCorrupt(t, func(t *testing.T) (blob.Store, func(string, event.Hash, []byte)) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "stayd.db")
		s := open(t, path)
		t.Cleanup(func() { mustClose(t, s) })
		return s.Blobs(), func(_ string, name event.Hash, kept []byte) {
			tamper(t, path, "UPDATE piece_data SET data = ? WHERE piece = (SELECT id FROM pieces WHERE hash = ?)", kept, name[:])
		}
	})
}

func one(data []byte) []blob.Blob { return []blob.Blob{{Name: blob.Name(data), Data: data}} }
