package snapshot

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/fxamacker/cbor/v2"

	"github.com/stayd/stayd/internal/blob"
	"github.com/stayd/stayd/internal/event"
)

// Every blob that is not content begins with magic, the version of the form, and
// one byte that says what follows. Content that begins so by chance, or by
// design, is kept behind escape, so that no content is ever taken for a folder.
const (
	magic  = "\xffstayd"
	escape = magic + "\x00r"

	headDir   = magic + "\x01d" // an array of wireEntry
	headIndex = magic + "\x01i" // an array of wireLeaf
	headList  = magic + "\x01l" // a wireList
)

// entry is what a folder says of one thing in it.
type entry struct {
	name   string
	kind   Kind
	mode   uint16 // permission bits
	size   int64  // of the content; of a folder, of all files below it
	time   int64  // of a file's modification, nanoseconds since 1970
	depth  uint8  // how many levels of lists lie between the pieces and the content
	pieces []piece
	target string
	tree   event.Hash // of a folder
	files  int64      // files and links below a folder
}

// piece is a blob of content, or a list of pieces, and the size of the content.
type piece struct {
	name event.Hash
	size int64
}

func (e *entry) sameContent(o *entry) bool {
	return e.kind == o.kind && e.size == o.size && e.target == o.target && e.tree == o.tree &&
		e.depth == o.depth && slices.Equal(e.pieces, o.pieces)
}

func (e *entry) equal(o *entry) bool {
	return e.name == o.name && e.mode == o.mode && e.time == o.time && e.sameContent(o)
}

// count is what the entry adds to its folder's totals.
func (e *entry) count() (files, size int64) {
	switch e.kind {
	case Dir:
		return e.files, e.size
	case File:
		return 1, e.size
	default:
		return 1, 0
	}
}

func totals(entries []entry) (files, size int64) {
	for i := range entries {
		f, s := entries[i].count()
		files += f
		size += s
	}
	return files, size
}

type wireEntry struct {
	_      struct{} `cbor:",toarray"`
	Kind   Kind
	Name   []byte
	Mode   uint16
	Size   int64
	Time   int64
	Depth  uint8
	Pieces []byte // of each piece its name and its size, big endian
	Target []byte
	Tree   []byte // empty for an empty folder
	Files  int64
}

type wireLeaf struct {
	_     struct{} `cbor:",toarray"`
	First []byte   // the name of the leaf's first entry
	Leaf  []byte
	Files int64
	Size  int64
}

type wireList struct {
	_      struct{} `cbor:",toarray"`
	Depth  uint8
	Pieces []byte
}

// codec is the one form of CBOR that is written and read.
type codec struct {
	enc cbor.EncMode
	dec cbor.DecMode
}

var wire = newCodec()

func newCodec() codec {
	enc, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err)
	}
	dec, err := cbor.DecOptions{
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		MaxArrayElements: 2 * MaxEntries,
		MaxNestedLevels:  4 * MaxDepth, // of an index
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return codec{enc, dec}
}

func encode(head string, v any) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(head)
	if err := wire.enc.NewEncoder(&b).Encode(v); err != nil {
		return nil, fmt.Errorf("encode a folder: %w", err)
	}
	return b.Bytes(), nil
}

func decode(data []byte, head string, v any) error {
	body, ok := bytes.CutPrefix(data, []byte(head))
	if !ok {
		return corrupt("it does not begin as a %q does", head[len(head)-1:])
	}
	if err := wire.dec.Unmarshal(body, v); err != nil {
		return corrupt("%v", err)
	}
	return nil
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

func packPieces(pieces []piece) []byte {
	if len(pieces) == 0 {
		return nil
	}
	out := make([]byte, 0, len(pieces)*pieceSize)
	for i := range pieces {
		out = append(out, pieces[i].name[:]...)
		out = binary.BigEndian.AppendUint64(out, uint64(pieces[i].size))
	}
	return out
}

const pieceSize = len(event.Hash{}) + 8

// unpackPieces also checks that the sizes add up.
func unpackPieces(data []byte, depth uint8, size int64) ([]piece, error) {
	if len(data)%pieceSize != 0 || depth > maxLevels {
		return nil, corrupt("%d bytes of pieces at depth %d", len(data), depth)
	}
	var pieces []piece
	if len(data) > 0 {
		pieces = make([]piece, 0, len(data)/pieceSize)
	}
	var sum int64
	for ; len(data) > 0; data = data[pieceSize:] {
		p := piece{name: event.Hash(data[:32]), size: int64(binary.BigEndian.Uint64(data[32:]))}
		if p.size <= 0 || p.size > size-sum || depth == 0 && p.size > blob.MaxSize || p.name.IsZero() {
			return nil, corrupt("a piece of %d bytes after %d of %d", p.size, sum, size)
		}
		sum += p.size
		pieces = append(pieces, p)
	}
	if sum != size {
		return nil, corrupt("pieces of %d bytes in a file of %d", sum, size)
	}
	return pieces, nil
}

func (e *entry) wire() wireEntry {
	w := wireEntry{
		Kind: e.kind, Name: []byte(e.name), Mode: e.mode, Size: e.size, Time: e.time,
		Depth: e.depth, Pieces: packPieces(e.pieces), Files: e.files,
	}
	if e.kind == Link {
		w.Target = []byte(e.target)
	}
	if !e.tree.IsZero() {
		w.Tree = e.tree[:]
	}
	return w
}

func (w *wireEntry) entry() (entry, error) {
	e := entry{
		name: string(w.Name), kind: w.Kind, mode: w.Mode, size: w.Size, time: w.Time,
		depth: w.Depth, target: string(w.Target), files: w.Files,
	}
	if !validName(e.name) {
		return e, corrupt("the name %q", e.name)
	}
	if e.mode&^permBits != 0 || e.size < 0 || e.files < 0 || len(w.Tree) != 0 && len(w.Tree) != len(e.tree) {
		return e, corrupt("the entry %q", e.name)
	}
	copy(e.tree[:], w.Tree)
	var ok bool
	switch e.kind {
	case File:
		ok = e.target == "" && e.tree.IsZero() && e.files == 0
	case Dir:
		ok = e.target == "" && e.time == 0 && e.depth == 0 && len(w.Pieces) == 0 &&
			(len(w.Tree) != 0) == !e.tree.IsZero() && (!e.tree.IsZero() || e.size == 0 && e.files == 0)
	case Link:
		ok = e.target != "" && len(e.target) <= maxTarget && strings.IndexByte(e.target, 0) < 0 &&
			e.size == 0 && e.mode == 0 && e.time == 0 && e.depth == 0 && len(w.Pieces) == 0 && e.tree.IsZero() && e.files == 0
	}
	if !ok {
		return e, corrupt("the %s %q", e.kind, e.name)
	}
	if e.kind != File {
		return e, nil
	}
	var err error
	e.pieces, err = unpackPieces(w.Pieces, e.depth, e.size)
	return e, err
}

func validName(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) <= maxName && strings.IndexByte(name, '/') < 0 && strings.IndexByte(name, 0) < 0
}

func encodeDir(entries []entry) ([]byte, error) {
	list := make([]wireEntry, len(entries))
	for i := range entries {
		list[i] = entries[i].wire()
	}
	return encode(headDir, list)
}

func decodeDir(data []byte) ([]entry, error) {
	var list []wireEntry
	if err := decode(data, headDir, &list); err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, corrupt("an empty folder has no blob")
	}
	entries := make([]entry, len(list))
	var files, size int64
	for i := range list {
		var err error
		if entries[i], err = list[i].entry(); err != nil {
			return nil, err
		}
		if i > 0 && entries[i-1].name >= entries[i].name {
			return nil, corrupt("%q follows %q", entries[i].name, entries[i-1].name)
		}
		f, s := entries[i].count()
		if f > math.MaxInt64-files || s > math.MaxInt64-size {
			return nil, corrupt("the totals are over all bounds")
		}
		files, size = files+f, size+s
	}
	return entries, nil
}

// leaf is a run of the entries of a folder with very many.
type leaf struct {
	first string
	name  event.Hash
	files int64
	size  int64
}

func encodeIndex(leaves []leaf) ([]byte, error) {
	list := make([]wireLeaf, len(leaves))
	for i := range leaves {
		l := &leaves[i]
		list[i] = wireLeaf{First: []byte(l.first), Leaf: l.name[:], Files: l.files, Size: l.size}
	}
	return encode(headIndex, list)
}

func decodeIndex(data []byte) ([]leaf, error) {
	var list []wireLeaf
	if err := decode(data, headIndex, &list); err != nil {
		return nil, err
	}
	if len(list) < 2 {
		return nil, corrupt("an index of %d leaves", len(list))
	}
	leaves := make([]leaf, len(list))
	var files, size int64
	for i := range list {
		w := &list[i]
		l := leaf{first: string(w.First), files: w.Files, size: w.Size}
		if len(w.Leaf) != len(l.name) || l.files < 0 || l.size < 0 || l.files > math.MaxInt64-files || l.size > math.MaxInt64-size || !validName(l.first) {
			return nil, corrupt("the leaf %q", l.first)
		}
		if i > 0 && leaves[i-1].first >= l.first {
			return nil, corrupt("the leaf %q follows %q", l.first, leaves[i-1].first)
		}
		copy(l.name[:], w.Leaf)
		files, size = files+l.files, size+l.size
		leaves[i] = l
	}
	return leaves, nil
}

func decodeList(data []byte, depth uint8, size int64) ([]piece, error) {
	var w wireList
	if err := decode(data, headList, &w); err != nil {
		return nil, err
	}
	if w.Depth != depth {
		return nil, corrupt("a list of depth %d where %d is meant", w.Depth, depth)
	}
	return unpackPieces(w.Pieces, depth, size)
}

// seal returns content as a blob. It copies only what has to be escaped.
func seal(content []byte) []byte {
	if bytes.HasPrefix(content, []byte(magic)) {
		return append([]byte(escape), content...)
	}
	return content
}

// unseal returns the content of a blob.
func unseal(data []byte, size int64) ([]byte, error) {
	content, escaped := bytes.CutPrefix(data, []byte(escape))
	if !escaped && bytes.HasPrefix(data, []byte(magic)) {
		return nil, corrupt("a folder where content is meant")
	}
	if int64(len(content)) != size {
		return nil, corrupt("%d bytes of content where %d are meant", len(content), size)
	}
	return content, nil
}
