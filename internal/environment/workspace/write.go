package workspace

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/tool"
)

func (w *Workspace) writeFile(c tool.Call) (tool.Result, error) {
	var args struct {
		Path    string  `json:"path"`
		Content *string `json:"content"`
	}
	if err := Arguments(c.Arguments, &args); err != nil {
		return tool.Failure("%v", err), nil
	}
	if args.Path == "" || args.Content == nil {
		return tool.Failure("path and content are required"), nil
	}
	if len(*args.Content) > MaxFile {
		return tool.Failure("the content has %d bytes; at most %d can be written", len(*args.Content), MaxFile), nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	rel, err := w.locate(args.Path)
	if err != nil {
		return failure(args.Path, err)
	}
	if err := w.writable(rel); err != nil {
		return failure(args.Path, err)
	}
	if err := w.replaceWith(rel, *args.Content, w.modeOf(rel)); err != nil {
		return failure(args.Path, err)
	}
	return tool.Text(fmt.Sprintf("wrote %d bytes to %s", len(*args.Content), Shown(rel))), nil
}

// writable says why there can be no file at rel.
func (w *Workspace) writable(rel string) error {
	info, err := w.root.Lstat(rel)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.IsDir():
		return pathErrorf("%s is a folder", Shown(rel))
	case !info.Mode().IsRegular():
		return pathErrorf("%s is not a regular file", Shown(rel))
	}
	return nil
}

type editArgs struct {
	Path       string  `json:"path"`
	OldText    string  `json:"old_text"`
	NewText    *string `json:"new_text"`
	ReplaceAll bool    `json:"replace_all"`
}

func (w *Workspace) editFile(c tool.Call) (tool.Result, error) {
	var args editArgs
	if err := Arguments(c.Arguments, &args); err != nil {
		return tool.Failure("%v", err), nil
	}
	if args.Path == "" || args.OldText == "" || args.NewText == nil {
		return tool.Failure("path, old_text and new_text are required"), nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	rel, err := w.locate(args.Path)
	if err != nil {
		return failure(args.Path, err)
	}
	before, mode, err := w.readWhole(rel)
	if err != nil {
		return failure(args.Path, err)
	}
	after, answer, err := args.apply(rel, string(before))
	if err != nil {
		return failure(args.Path, err)
	}
	if err := w.replaceWith(rel, after, mode); err != nil {
		return failure(args.Path, err)
	}
	return tool.Text(answer), nil
}

// apply returns the text with the edit made, and what to answer.
func (a *editArgs) apply(rel, text string) (after, answer string, err error) {
	n := strings.Count(text, a.OldText)
	switch {
	case n == 0:
		return "", "", pathErrorf("old_text is not in %s", Shown(rel))
	case n > 1 && !a.ReplaceAll:
		return "", "", pathErrorf("old_text is in %s %d times; make it longer, or set replace_all", Shown(rel), n)
	case len(text)+n*(len(*a.NewText)-len(a.OldText)) > MaxFile:
		return "", "", pathErrorf("%s would have over %d bytes", Shown(rel), MaxFile)
	}
	places := "1 place"
	if n > 1 {
		places = fmt.Sprintf("%d places", n)
	}
	return strings.ReplaceAll(text, a.OldText, *a.NewText), fmt.Sprintf("changed %s in %s", places, Shown(rel)), nil
}

func (w *Workspace) readWhole(rel string) ([]byte, fs.FileMode, error) {
	f, info, err := w.open(rel)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	b, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return nil, 0, err
	}
	if len(b) > MaxFile {
		return nil, 0, pathErrorf("%s has over %d bytes, which is too large to be edited", Shown(rel), MaxFile)
	}
	if isBinary(b[:min(len(b), 8192)]) {
		return nil, 0, pathErrorf("%s is a binary file; only text can be edited", Shown(rel))
	}
	return b, info.Mode(), nil
}

// Write puts a file with the mode into the workspace at p, an absolute path below
// /workspace, and makes the folders above it. A file that is there is replaced.
func (w *Workspace) Write(p string, r io.Reader, mode fs.FileMode) error {
	if !path.IsAbs(p) {
		return pathErrorf("the path %q is not absolute", p)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	rel, err := w.locate(p)
	if err == nil {
		err = w.writable(rel)
	}
	if err == nil {
		err = w.replace(rel, r, mode)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", p, told(p, err))
	}
	return nil
}

// replaceWith is replace with a text, if there is room for it.
func (w *Workspace) replaceWith(rel, content string, mode fs.FileMode) error {
	more := int64(len(content))
	if info, err := w.root.Lstat(rel); err == nil && info.Mode().IsRegular() {
		more -= info.Size()
	}
	if err := w.disk.room(more); err != nil {
		return err
	}
	return w.replace(rel, strings.NewReader(content), mode)
}

// replace writes a file of the workspace. What was there is replaced at once:
// nobody ever sees half of a file, and no other name of the old file changes. The
// caller holds w.mu.
func (w *Workspace) replace(rel string, content io.Reader, mode fs.FileMode) error {
	if rel == "." {
		return pathErrorf("%s is a folder", environment.Workspace)
	}
	from := filepath.Join(w.unfinished, rand.Text())
	err := w.writeNew(from, content, mode)
	if err == nil {
		err = w.install(from, rel)
	}
	if err != nil {
		os.Remove(from) //nolint:errcheck,gosec // Open clears what is left
	}
	return err
}

func (w *Workspace) writeNew(name string, content io.Reader, mode fs.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	if err == nil && !w.windows {
		err = f.Chmod(mode.Perm())
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// install moves a file that is outside of the workspace to rel.
func (w *Workspace) install(from, rel string) error {
	parent := path.Dir(rel)
	err := w.root.MkdirAll(parent, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return pathErrorf("%s: a part of the path is not a folder", Shown(rel))
	}
	if err != nil {
		return fmt.Errorf("make the folder %s: %w", Shown(parent), err)
	}
	if err := w.moveIn(from, rel); err != nil {
		return fmt.Errorf("write %s: %w", Shown(rel), err)
	}
	return nil
}

// modeOf is the mode that a new version of the file gets.
func (w *Workspace) modeOf(rel string) fs.FileMode {
	if info, err := w.root.Lstat(rel); err == nil && info.Mode().IsRegular() {
		return info.Mode().Perm()
	}
	return 0o644
}
