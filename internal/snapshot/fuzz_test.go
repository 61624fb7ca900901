package snapshot

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stayd/stayd/internal/event"
)

func dirBlob(tb testing.TB, entries ...entry) []byte {
	tb.Helper()
	data, err := encodeDir(entries)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

var (
	someName = event.Hash{1}
	goodFile = entry{name: "file", kind: File, mode: 0o644, size: 5, time: 7, pieces: []piece{{someName, 2}, {someName, 3}}}
	goodDir  = entry{name: "dir", kind: Dir, mode: 0o755, size: 5, files: 1, tree: someName}
	goodLink = entry{name: "link", kind: Link, target: "../x"}
)

// TestDecodeIsStrict changes one thing of a folder that is right.
func TestDecodeIsStrict(t *testing.T) {
	if got, err := decodeDir(dirBlob(t, goodDir, goodFile, goodLink)); err != nil || len(got) != 3 {
		t.Fatalf("decode of a folder that is right: %v", err)
	}
	with := func(e entry, change func(*entry)) []byte { change(&e); return dirBlob(t, e) }
	file := func(change func(*entry)) []byte { return with(goodFile, change) }
	dir := func(change func(*entry)) []byte { return with(goodDir, change) }
	link := func(change func(*entry)) []byte { return with(goodLink, change) }
	for name, data := range map[string][]byte{
		"nothing":           nil,
		"no head":           dirBlob(t, goodFile)[1:],
		"other head":        append([]byte(headList), dirBlob(t, goodFile)[len(headDir):]...),
		"no entries":        dirBlob(t),
		"trailing":          append(dirBlob(t, goodFile), 0),
		"cut":               dirBlob(t, goodFile)[:40],
		"order":             dirBlob(t, goodFile, goodDir),
		"duplicate":         dirBlob(t, goodFile, goodFile),
		"empty name":        file(func(e *entry) { e.name = "" }),
		"dot":               file(func(e *entry) { e.name = "." }),
		"parent":            file(func(e *entry) { e.name = ".." }),
		"slash":             file(func(e *entry) { e.name = "a/b" }),
		"nul":               file(func(e *entry) { e.name = "a\x00b" }),
		"long name":         file(func(e *entry) { e.name = strings.Repeat("n", 256) }),
		"kind":              file(func(e *entry) { e.kind = 4 }),
		"setuid":            file(func(e *entry) { e.mode = 0o4755 }),
		"size too large":    file(func(e *entry) { e.size = 6 }),
		"size too small":    file(func(e *entry) { e.size = 4 }),
		"negative size":     file(func(e *entry) { e.size = -1 }),
		"empty piece":       file(func(e *entry) { e.pieces = []piece{{someName, 5}, {someName, 0}} }),
		"negative piece":    file(func(e *entry) { e.pieces = []piece{{someName, -1}, {someName, 6}} }),
		"huge piece":        file(func(e *entry) { e.size = 9 << 20; e.pieces = []piece{{someName, 9 << 20}} }),
		"nameless piece":    file(func(e *entry) { e.pieces = []piece{{event.Hash{}, 5}} }),
		"depth":             file(func(e *entry) { e.depth = maxLevels + 1 }),
		"file with target":  file(func(e *entry) { e.kind = Link; e.target = "x" }),
		"file with tree":    file(func(e *entry) { e.tree = someName }),
		"file with files":   file(func(e *entry) { e.files = 1 }),
		"dir with time":     dir(func(e *entry) { e.time = 1 }),
		"dir with pieces":   dir(func(e *entry) { e.pieces = goodFile.pieces }),
		"empty dir of 5":    dir(func(e *entry) { e.tree = event.Hash{} }),
		"negative files":    dir(func(e *entry) { e.files = -1 }),
		"empty target":      link(func(e *entry) { e.target = "" }),
		"long target":       link(func(e *entry) { e.target = strings.Repeat("t", 4096) }),
		"nul in target":     link(func(e *entry) { e.target = "a\x00" }),
		"link with mode":    link(func(e *entry) { e.mode = 0o777 }),
		"totals overflow":   dirBlob(t, with2(goodDir, "a"), with2(goodDir, "b"), with2(goodDir, "c")),
		"indefinite length": append([]byte(headDir), 0x9f, 0xff),
		"tag":               append([]byte(headDir), 0xc0, 0x80),
		"huge array":        append([]byte(headDir), 0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
	} {
		if entries, err := decodeDir(data); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %d entries, %v, want ErrCorrupt", name, len(entries), err)
		}
	}
}

func with2(e entry, name string) entry {
	e.name, e.size = name, 1<<62
	return e
}

func FuzzDecode(f *testing.F) {
	f.Add(dirBlob(f, goodDir, goodFile, goodLink))
	index, err := encodeIndex([]leaf{{"a", someName, 1, 2}, {"b", someName, 3, 4}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(index)
	list, err := encode(headList, wireList{Depth: 1, Pieces: packPieces(goodFile.pieces)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(list)
	f.Fuzz(func(t *testing.T, data []byte) {
		if entries, err := decodeDir(data); err == nil {
			again, err := decodeDir(dirBlob(t, entries...))
			if err != nil {
				t.Fatalf("what was decoded cannot be encoded: %v", err)
			}
			if diff := cmp.Diff(entries, again, cmp.AllowUnexported(entry{}, piece{})); diff != "" {
				t.Fatal(diff)
			}
		} else if !errors.Is(err, ErrCorrupt) {
			t.Fatalf("decode: %v", err)
		}
		if leaves, err := decodeIndex(data); err == nil {
			again, err := encodeIndex(leaves)
			if err != nil {
				t.Fatal(err)
			}
			if back, err := decodeIndex(again); err != nil || !cmp.Equal(leaves, back, cmp.AllowUnexported(leaf{})) {
				t.Fatalf("the index differs: %v", err)
			}
		} else if !errors.Is(err, ErrCorrupt) {
			t.Fatalf("decode: %v", err)
		}
		if _, err := decodeList(data, 1, 5); err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatalf("decode: %v", err)
		}
		// Content is never taken for a folder, and comes back as it was.
		kept := seal(data)
		if bytes.HasPrefix(kept, []byte(magic+"\x01")) {
			t.Fatal("content is kept as if it were a folder")
		}
		if got, err := unseal(kept, int64(len(data))); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("content: %v", err)
		}
	})
}
