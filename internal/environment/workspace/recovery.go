package workspace

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"github.com/stayd/stayd/internal/environment"
)

// seed puts the inline files into a workspace that is opened for the first
// time. They are staged, so that a crash in the middle of it leaves either
// nothing or a decision that is carried out before the agent can change a file.
func (w *Workspace) seed(spec environment.Spec) error {
	dir := filepath.Join(w.state, seedDir)
	c, err := readCommit(dir)
	if err != nil {
		return err
	}
	if c == nil {
		if c, err = stageSeed(dir, spec); err != nil {
			return err
		}
	}
	if err := w.applyStage(dir, c); err != nil {
		return fmt.Errorf("put the environment's files in place: %w", err)
	}
	return nil
}

func stageSeed(dir string, spec environment.Spec) (*commit, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("stage the environment's files: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, filesDir), 0o700); err != nil {
		return nil, fmt.Errorf("stage the environment's files: %w", err)
	}
	c := new(commit)
	for i, f := range spec.Files {
		if !path.IsAbs(f.Path) {
			return nil, fmt.Errorf("the environment's file %q: the path is not absolute", f.Path)
		}
		rel, err := Rel(f.Path)
		if err == nil && rel == "." {
			err = pathErrorf("it is the workspace itself")
		}
		if err != nil {
			return nil, fmt.Errorf("the environment's file %q: %w", f.Path, err)
		}
		name := strconv.Itoa(i)
		if err := os.WriteFile(filepath.Join(dir, filesDir, name), f.Data, 0o600); err != nil {
			return nil, fmt.Errorf("stage the environment's file %q: %w", f.Path, err)
		}
		c.Write = append(c.Write, write{Path: rel, File: name, Mode: 0o644})
	}
	for _, d := range []string{spec.Dir, filepath.Dir(spec.Dir)} {
		if err := syncPath(d); err != nil {
			return nil, fmt.Errorf("make the workspace durable: %w", err)
		}
	}
	if err := commitStage(dir, c); err != nil {
		return nil, err
	}
	return c, nil
}

// finish carries out what was decided before a crash, and forgets what was
// not.
func (w *Workspace) finish() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	effects := filepath.Join(w.state, effectsDir)
	entries, err := os.ReadDir(effects)
	if err != nil {
		return fmt.Errorf("read staged changes: %w", err)
	}
	for _, e := range entries {
		dir := filepath.Join(effects, e.Name())
		c, err := readCommit(dir)
		if err != nil {
			return err
		}
		if c == nil {
			if err := os.RemoveAll(dir); err != nil {
				return fmt.Errorf("forget unfinished changes: %w", err)
			}
			continue
		}
		if err := w.applyStage(dir, c); err != nil {
			return fmt.Errorf("finish the changes of %s: %w", e.Name(), err)
		}
	}
	return nil
}

// How many effects are remembered. An effect is only ever repeated while the
// session waits for it, so the calls of one step are enough.
const (
	keptEdits   = 128
	keptEffects = 32
)

// prune forgets the oldest entries of a folder of state/, beyond kept, that may
// be forgotten.
func prune(dir string, kept int, may func(name string) bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read what is remembered: %w", err)
	}
	if len(entries) <= kept {
		return nil
	}
	age := make(map[string]int64, len(entries))
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return fmt.Errorf("read what is remembered: %w", err)
		}
		age[e.Name()] = info.ModTime().UnixNano()
	}
	slices.SortFunc(entries, func(a, b os.DirEntry) int { return cmp.Compare(age[a.Name()], age[b.Name()]) })
	for _, e := range entries[:len(entries)-kept] {
		if name := filepath.Join(dir, e.Name()); may(name) {
			if err := os.RemoveAll(name); err != nil {
				return fmt.Errorf("forget an old effect: %w", err)
			}
		}
	}
	return nil
}

var plainID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,100}$`)

// fileName is the name under which an effect is remembered.
func fileName(effectID string) string {
	if plainID.MatchString(effectID) {
		return effectID
	}
	sum := sha256.Sum256([]byte(effectID))
	return "sha256." + hex.EncodeToString(sum[:])
}
