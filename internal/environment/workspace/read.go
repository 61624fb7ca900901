package workspace

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/tool"
)

func (w *Workspace) readFile(c tool.Call) (tool.Result, error) {
	var args struct {
		Path   string `json:"path"`
		Offset int64  `json:"offset"`
		Limit  int64  `json:"limit"`
	}
	if err := Arguments(c.Arguments, &args); err != nil {
		return tool.Failure("%v", err), nil
	}
	if args.Path == "" {
		return tool.Failure("path is required"), nil
	}
	if args.Offset < 0 || args.Limit < 0 || args.Limit > MaxRead {
		return tool.Failure("offset must be 0 or more, and limit from 1 to %d", MaxRead), nil
	}
	if args.Limit == 0 {
		args.Limit = MaxRead
	}
	rel, err := w.locate(args.Path)
	if err != nil {
		return failure(args.Path, err)
	}
	f, info, err := w.open(rel)
	if err != nil {
		return failure(args.Path, err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	head := make([]byte, 8192)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return failure(args.Path, err)
	}
	if head = head[:n]; isBinary(head) {
		return tool.Failure("%s is a binary file (%s, %d bytes); only text can be read", Shown(rel), http.DetectContentType(head), info.Size()), nil
	}
	if args.Offset > info.Size() {
		return tool.Failure("%s has only %d bytes", Shown(rel), info.Size()), nil
	}
	b, err := io.ReadAll(io.NewSectionReader(f, args.Offset, args.Limit))
	if err != nil {
		return failure(args.Path, err)
	}
	end := args.Offset + int64(len(b))
	if end < info.Size() {
		b = wholeRunes(b)
		end = args.Offset + int64(len(b))
		b = fmt.Appendf(b, "\n[bytes %d to %d of %d; go on with offset %d]", args.Offset, end, info.Size(), end)
	}
	return tool.Text(strings.ToValidUTF8(string(b), "\uFFFD")), nil
}

// isBinary judges a file by its first bytes.
func isBinary(head []byte) bool {
	if bytes.IndexByte(head, 0) >= 0 {
		return true
	}
	return !utf8.Valid(wholeRunes(head))
}

// wholeRunes leaves out a character that was cut at the end.
func wholeRunes(b []byte) []byte {
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		if c := b[len(b)-i]; utf8.RuneStart(c) {
			if !utf8.FullRune(b[len(b)-i:]) && len(b) > i {
				return b[:len(b)-i]
			}
			break
		}
	}
	return b
}

func (w *Workspace) listFiles(c tool.Call) (tool.Result, error) {
	var args struct {
		Path      string `json:"path"`
		Recursive bool   `json:"recursive"`
		Limit     int    `json:"limit"`
	}
	if err := Arguments(c.Arguments, &args); err != nil {
		return tool.Failure("%v", err), nil
	}
	if args.Limit < 0 || args.Limit > MaxList {
		return tool.Failure("limit must be from 1 to %d", MaxList), nil
	}
	if args.Limit == 0 {
		args.Limit = defaultList
	}
	if args.Path == "" {
		args.Path = environment.Workspace
	}
	rel, err := w.locate(args.Path)
	if err != nil {
		return failure(args.Path, err)
	}
	l := &lister{w: w, limit: args.Limit, recursive: args.Recursive}
	if err := l.list(rel); err != nil {
		return failure(args.Path, err)
	}
	switch {
	case len(l.lines) == 0:
		return tool.Text("(the folder is empty)"), nil
	case l.more:
		l.lines = append(l.lines, fmt.Sprintf("[only the first %d entries are listed]", args.Limit))
	}
	return tool.Text(strings.Join(l.lines, "\n")), nil
}

// lister collects the lines of a list, in the order of the names, each folder
// followed by what is in it.
type lister struct {
	w         *Workspace
	limit     int
	recursive bool
	lines     []string
	more      bool
}

func (l *lister) list(rel string) error {
	entries, err := l.w.readDir(rel)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if len(l.lines) == l.limit {
			l.more = true
			return nil
		}
		p := path.Join(rel, e.Name())
		info, err := l.w.root.Lstat(p)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a command removed it just now
		}
		if err != nil {
			return err
		}
		l.lines = append(l.lines, l.line(p, info))
		if info.IsDir() && l.recursive {
			if err := l.list(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

func (l *lister) line(rel string, info fs.FileInfo) string {
	switch mode := info.Mode(); {
	case mode.IsDir():
		return printable(Shown(rel)) + "/"
	case mode.IsRegular():
		return fmt.Sprintf("%s\t%d", printable(Shown(rel)), info.Size())
	case mode&fs.ModeSymlink != 0:
		if target, err := l.w.readlink(rel); err == nil {
			return fmt.Sprintf("%s -> %s", printable(Shown(rel)), printable(target))
		}
	}
	return printable(Shown(rel)) + "\t(not a regular file)"
}

// printable is the name as it is, or quoted where it would pass for more than one
// line of a list, or command a terminal.
func printable(name string) string {
	if utf8.ValidString(name) && strings.IndexFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return name
	}
	return strconv.Quote(name)
}

func (w *Workspace) readDir(rel string) ([]fs.DirEntry, error) {
	info, err := w.root.Stat(rel)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, pathErrorf("%s is not a folder", Shown(rel))
	}
	f, err := w.root.Open(rel)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}
