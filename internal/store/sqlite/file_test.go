package sqlite_test

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/store/sqlite"
)

// tamper runs SQL on the file of a closed store.
func tamper(t *testing.T, path, query string, args ...any) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() // written already
	if _, err := db.Exec(query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

func mustClose(t *testing.T, s store.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

func TestNewerFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stayd.db")
	mustClose(t, open(t, path))
	tamper(t, path, "INSERT INTO schema_versions (version_id, is_applied) VALUES (9999, 1)")
	s, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	if err == nil {
		mustClose(t, s)
		t.Fatal("a file of a newer version was opened")
	}
	if !strings.Contains(err.Error(), "newer version") || !strings.Contains(err.Error(), "9999") {
		t.Errorf("the error does not say what is wrong: %v", err)
	}
}

// TestOpenTogether opens a file that does not exist from many sides, of which
// one makes the schema.
func TestOpenTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stayd.db")
	stores := make([]*sqlite.Store, 6)
	var all sync.WaitGroup
	for i := range stores {
		all.Go(func() {
			s, err := sqlite.Open(t.Context(), path, sqlite.Options{})
			if err != nil {
				t.Errorf("open: %v", err)
			}
			stores[i] = s
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}
	c := newChain(claim(t, stores[0]), "s")
	for i := range stores {
		c.append(t, stores[i], strconv.Itoa(i))
	}
	for _, s := range stores {
		c.check(t, s)
		mustClose(t, s)
	}
}

func TestNotADatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stayd.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("This is a letter. ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlite.Open(t.Context(), path, sqlite.Options{}); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("open of a letter: %v, want ErrCorrupt", err)
	}
}

func TestNoDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none", "stayd.db")
	if _, err := sqlite.Open(t.Context(), path, sqlite.Options{}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("open in no directory: %v, want ErrUnavailable", err)
	}
}

func TestDamagedPages(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stayd.db")
	s := open(t, path)
	c := newChain(claim(t, s), "s")
	for range 200 {
		c.append(t, s, noise(3000))
	}
	mustClose(t, s)

	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	// The second half of the file holds records and their index.
	junk := bytes.Repeat([]byte{0xa5}, int(info.Size()/2))
	if _, err := f.WriteAt(junk, info.Size()-int64(len(junk))); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	s2, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	if err == nil {
		_, err = s2.Read(t.Context(), "project", "s", 0, 1000)
		defer s2.Close() // its file is damaged
	}
	if !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("read of a damaged file: %v, want ErrCorrupt", err)
	}
}

func TestDamagedBlob(t *testing.T) {
	for name, query := range map[string]string{
		"changed":  "UPDATE blobs SET data = CAST('no zstd frame' AS BLOB)",
		"swapped":  "UPDATE blobs SET data = (SELECT data FROM blobs ORDER BY id DESC LIMIT 1)",
		"lost":     "DELETE FROM blobs",
		"not hash": "UPDATE records SET hash = x'00'",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "stayd.db")
			s := open(t, path)
			c := newChain(claim(t, s), "s")
			c.append(t, s, noise(6000))
			c.append(t, s, noise(6000))
			mustClose(t, s)
			tamper(t, path, query)
			s = open(t, path)
			if _, err := s.Read(t.Context(), "project", "s", 0, 10); !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("read: %v, want ErrCorrupt", err)
			}
			mustClose(t, s)
		})
	}
}

const secret = "the name of the patient"

// TestErasedIsGone looks for what was erased in the files themselves.
func TestErasedIsGone(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "stayd.db"))
	epochs := claim(t, s)
	c := newChain(epochs, "s")
	for range 20 {
		c.append(t, s, `"`+secret+`"`)
	}
	big := `"` + secret + noise(8000)[1:]
	c.append(t, s, big)
	newChain(epochs, "t").append(t, s, noise(2000))
	if !found(t, dir) {
		t.Fatal("the secret cannot be found before it is erased: this test proves nothing")
	}
	a := c.next(`"tombstone"`)
	a.Erase = true
	if err := s.Append(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Collect(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	// The write-ahead log is cleared when nothing is written for a moment.
	for deadline := time.Now().Add(time.Minute); found(t, dir) && time.Now().Before(deadline); {
		time.Sleep(50 * time.Millisecond)
	}
	if found(t, dir) {
		t.Error("the secret is still in the files of the open store")
	}
	mustClose(t, s)
	if found(t, dir) {
		t.Error("the secret is still in the file of the closed store")
	}
}

func found(t *testing.T, dir string) bool {
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
		if bytes.Contains(b, []byte(secret)) {
			return true
		}
	}
	return false
}

// TestBytesPerByte bounds what is stored for each new byte: sessions of 100
// records of 1 to 8 KiB that do not repeat.
func TestBytesPerByte(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stayd.db")
	s := open(t, path)
	epochs := claim(t, s)
	data := 0
	for i := range 10 {
		c := newChain(epochs, fmt.Sprintf("session_%032d", i))
		for j := range 100 {
			n := 1024 + (j*37+i*11)%100*72
			c.append(t, s, noise(n))
			data += n
		}
	}
	mustClose(t, s)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	ratio := float64(info.Size()) / float64(data)
	t.Logf("%d bytes of data are %d bytes of file: %.3f", data, info.Size(), ratio)
	if ratio > 1.3 {
		t.Errorf("%.3f bytes are stored for each byte of data, want at most 1.3", ratio)
	}
}
