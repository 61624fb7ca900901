package workspace

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/tool"
)

func open(t *testing.T, spec environment.Spec) *Workspace {
	t.Helper()
	w, err := Open(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// tree is the workspace as text: a line for each folder and file.
func tree(t *testing.T, w *Workspace) string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(w.Dir(), func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == w.Dir() {
			return err
		}
		rel, _ := filepath.Rel(w.Dir(), p)
		if d.IsDir() {
			lines = append(lines, rel+"/")
			return nil
		}
		b, err := os.ReadFile(p)
		lines = append(lines, rel+"="+string(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(lines)
	return strings.Join(lines, " ")
}

// decided stages changes up to the decision, and returns the folder they are
// in and the list: what a crash right after the decision leaves.
func decided(t *testing.T, w *Workspace, effect string) (string, *commit) {
	t.Helper()
	o, _, err := w.Begin(t.Context(), effect)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []error{
		o.Remove("old"), o.WriteFile("old/new", []byte("n")), o.WriteFile("a", []byte("A")), o.AppendFile("log", []byte("+")), o.Mkdir("empty/folder"),
	} {
		if step != nil {
			t.Fatal(step)
		}
	}
	c := &commit{Remove: []string{"old"}, Mkdir: []string{"empty", "empty/folder", "old"}, Answer: json.RawMessage(`"said"`)}
	for _, p := range []string{"a", "log", "old/new"} {
		c.Write = append(c.Write, write{Path: p, File: o.entries[p].file, Mode: 0o644})
	}
	if err := commitStage(o.dir, c); err != nil {
		t.Fatal(err)
	}
	return o.dir, c
}

const (
	beforeChanges = "log=1 old/ old/x=x"
	afterChanges  = "a=A empty/ empty/folder/ log=1+ old/ old/new=n"
)

func changing(t *testing.T) environment.Spec {
	t.Helper()
	return environment.Spec{Dir: t.TempDir(), Files: []event.InlineFile{
		{Path: "/workspace/old/x", Data: []byte("x")}, {Path: "/workspace/log", Data: []byte("1")},
	}}
}

// Whatever of the changes was in place before a crash, opening the workspace
// puts the rest in place, and the effect is not done again.
func TestCrashWhileApplying(t *testing.T) {
	crashes := map[string]func(t *testing.T, w *Workspace, dir string, c *commit){
		"right after the decision": func(*testing.T, *Workspace, string, *commit) {},
		"in the middle of the removals": func(t *testing.T, w *Workspace, _ string, _ *commit) {
			t.Helper()
			if err := w.root.Remove("old/x"); err != nil {
				t.Fatal(err)
			}
		},
		"after the removals": func(t *testing.T, w *Workspace, dir string, c *commit) {
			t.Helper()
			if err := w.applyRemovals(dir, c, map[string]bool{}); err != nil {
				t.Fatal(err)
			}
		},
		"after one file": func(t *testing.T, w *Workspace, dir string, c *commit) {
			t.Helper()
			if err := w.applyRemovals(dir, c, map[string]bool{}); err != nil {
				t.Fatal(err)
			}
			if err := w.install(filepath.Join(dir, filesDir, c.Write[2].File), c.Write[2].Path, 0o644); err != nil {
				t.Fatal(err)
			}
		},
		"before the end was noted": func(t *testing.T, w *Workspace, dir string, c *commit) {
			t.Helper()
			if err := w.applyStage(dir, c); err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(filepath.Join(dir, appliedFile)); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, crash := range crashes {
		t.Run(name, func(t *testing.T) {
			spec := changing(t)
			w := open(t, spec)
			if got := tree(t, w); got != beforeChanges {
				t.Fatalf("it starts with %q", got)
			}
			dir, c := decided(t, w, "eff_1")
			crash(t, w, dir, c)

			w = open(t, spec)
			if got := tree(t, w); got != afterChanges {
				t.Errorf("after the restart: %q, want %q", got, afterChanges)
			}
			o, answer, err := w.Begin(t.Context(), "eff_1")
			if o != nil || string(answer) != `"said"` || err != nil {
				t.Errorf("the effect begins again: %v, %s, %v", o, answer, err)
			}
		})
	}
}

// Without a decision, nothing was done and nothing is left.
func TestCrashBeforeDecision(t *testing.T) {
	spec := changing(t)
	w := open(t, spec)
	o, _, err := w.Begin(t.Context(), "eff_1")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(o.WriteFile("a", []byte("A")), o.Remove("old")); err != nil {
		t.Fatal(err)
	}
	w = open(t, spec)
	if got := tree(t, w); got != beforeChanges {
		t.Errorf("after the restart: %q", got)
	}
	o, _, err = w.Begin(t.Context(), "eff_1")
	if o == nil || err != nil {
		t.Fatalf("the effect does not begin anew: %v", err)
	}
	if ok, err := o.Exists("a"); ok || err != nil {
		t.Errorf("what the first attempt staged is still there: %v", err)
	}
	if err := o.Discard(); err != nil {
		t.Error(err)
	}
}

// A crash while the first files are put in place leaves them to be put in
// place; once they are, what the agent does with them stays.
func TestCrashWhileSeeding(t *testing.T) {
	spec := changing(t)
	seed := filepath.Join(spec.Dir, stateDir, seedDir)
	if err := os.MkdirAll(filepath.Join(spec.Dir, workspaceDir), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := stageSeed(seed, spec); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(seed, filesDir, "1"), filepath.Join(spec.Dir, workspaceDir, "log")); err != nil {
		t.Fatal(err)
	}
	w := open(t, spec)
	if got := tree(t, w); got != beforeChanges {
		t.Errorf("after the restart: %q", got)
	}
	if err := w.root.RemoveAll("old"); err != nil {
		t.Fatal(err)
	}
	if got := tree(t, open(t, spec)); got != "log=1" {
		t.Errorf("what was deleted is back: %q", got)
	}
}

// A crash between what is remembered of an edit and the edit: it is made then.
func TestCrashBeforeEdit(t *testing.T) {
	spec := changing(t)
	w := open(t, spec)
	if err := w.remember("eff_1", &edit{Path: "log", Before: sum([]byte("1")), After: sum([]byte("11")), Answer: "changed 1 place in /workspace/log"}); err != nil {
		t.Fatal(err)
	}
	w = open(t, spec)
	for range 2 {
		res, _, err := w.Call(t.Context(), tool.Call{EffectID: "eff_1", Name: "edit_file", Arguments: json.RawMessage(`{"path":"log","old_text":"1","new_text":"11"}`)})
		if err != nil || res.Failed || event.OutputText(res.Output) != "changed 1 place in /workspace/log" {
			t.Errorf("%v %q %s", err, res.Error, res.Output)
		}
		if got := tree(t, w); got != "log=11 old/ old/x=x" {
			t.Errorf("the workspace is %q", got)
		}
	}
}

// A command may put something in the way between the decision and a restart; it
// must not keep the workspace from being opened.
func TestSomethingInTheWay(t *testing.T) {
	spec := changing(t)
	w := open(t, spec)
	decided(t, w, "eff_1")
	for _, p := range []string{"a/dir/x"} {
		if err := os.MkdirAll(filepath.Join(w.Dir(), p), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(w.Dir(), "empty"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := tree(t, open(t, spec)); got != afterChanges {
		t.Errorf("the workspace is %q, want %q", got, afterChanges)
	}
}

func TestOldEffectsAreForgotten(t *testing.T) {
	w := open(t, environment.Spec{Dir: t.TempDir()})
	for i := range keptEffects + 10 {
		o, _, err := w.Begin(t.Context(), "eff_"+string(rune('A'+i)))
		if err != nil {
			t.Fatal(err)
		}
		if err := o.WriteFile("f", []byte{byte('a' + i%26)}); err != nil {
			t.Fatal(err)
		}
		if err := o.Commit(json.RawMessage(`"x"`)); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(filepath.Join(w.state, effectsDir))
	if err != nil || len(entries) != keptEffects {
		t.Errorf("%d effects are remembered, want %d (%v)", len(entries), keptEffects, err)
	}
}

func TestBadInlineFiles(t *testing.T) {
	for _, p := range []string{"", "relative", "/etc/passwd", "/workspace", "/workspace/../state/x"} {
		_, err := Open(environment.Spec{Dir: t.TempDir(), Files: []event.InlineFile{{Path: p}}})
		if err == nil {
			t.Errorf("%q was taken", p)
		}
	}
}

func FuzzRel(f *testing.F) {
	for _, s := range []string{"a", "/workspace/a", "../a", "/", "a/../../b", "/workspace/../x", "//workspace//a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, p string) {
		rel, err := Rel(p)
		if err != nil {
			return
		}
		if !filepath.IsLocal(rel) {
			t.Errorf("%q became %q, which leads out", p, rel)
		}
		if again, err := Rel(Shown(rel)); err != nil || again != rel {
			t.Errorf("%q became %q, and then %q (%v)", p, rel, again, err)
		}
	})
}
