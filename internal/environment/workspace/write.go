package workspace

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

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
	if err := w.replace(rel, []byte(*args.Content), w.modeOf(rel)); err != nil {
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

// edit is what is remembered of an edit before it is made.
type edit struct {
	Path   string `json:"path"`
	Before string `json:"before"` // SHA-256 of the file
	After  string `json:"after"`
	Answer string `json:"answer"`
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
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
	if c.EffectID != "" {
		switch done, err := w.remembered(c.EffectID); {
		case err != nil:
			return tool.Result{}, err
		case done == nil:
		case done.After == sum(before):
			return tool.Text(done.Answer), nil
		case done.Before != sum(before):
			return tool.Failure("the edit of %s was interrupted, and the file was changed since: read it before you edit it again", Shown(rel)), nil
		}
	}
	after, answer, err := args.apply(rel, string(before))
	if err != nil {
		return failure(args.Path, err)
	}
	if c.EffectID != "" {
		if err := w.remember(c.EffectID, &edit{Path: rel, Before: sum(before), After: sum(after), Answer: answer}); err != nil {
			return failure(args.Path, err)
		}
	}
	if err := w.replace(rel, after, mode); err != nil {
		return failure(args.Path, err)
	}
	return tool.Text(answer), nil
}

// apply returns the text with the edit made, and what to answer.
func (a *editArgs) apply(rel, text string) (after []byte, answer string, err error) {
	n := strings.Count(text, a.OldText)
	switch {
	case n == 0:
		return nil, "", pathErrorf("old_text is not in %s", Shown(rel))
	case n > 1 && !a.ReplaceAll:
		return nil, "", pathErrorf("old_text is in %s %d times; make it longer, or set replace_all", Shown(rel), n)
	case len(text)+n*(len(*a.NewText)-len(a.OldText)) > MaxFile:
		return nil, "", pathErrorf("%s would have over %d bytes", Shown(rel), MaxFile)
	}
	places := "1 place"
	if n > 1 {
		places = fmt.Sprintf("%d places", n)
	}
	return []byte(strings.ReplaceAll(text, a.OldText, *a.NewText)), fmt.Sprintf("changed %s in %s", places, Shown(rel)), nil
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

func (w *Workspace) remembered(effectID string) (*edit, error) {
	b, err := os.ReadFile(filepath.Join(w.state, editsDir, fileName(effectID)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what is remembered of the edit: %w", err)
	}
	e := new(edit)
	if err := json.Unmarshal(b, e); err != nil {
		return nil, fmt.Errorf("read what is remembered of the edit: %w", err)
	}
	return e, nil
}

func (w *Workspace) remember(effectID string, e *edit) error {
	b, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode what is remembered of the edit: %w", err)
	}
	dir := filepath.Join(w.state, editsDir)
	if err := mark(filepath.Join(dir, fileName(effectID)), b); err != nil {
		return err
	}
	return prune(dir, keptEdits, func(string) bool { return true })
}
