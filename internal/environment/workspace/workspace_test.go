package workspace_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/workspace"
)

func TestWrite(t *testing.T) {
	spec := environment.Spec{Dir: t.TempDir()}
	w, err := workspace.Open(spec)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for _, content := range []string{"first", "second"} {
		if err := w.Write("/workspace/a/b", strings.NewReader(content), 0o755); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(filepath.Join(spec.Dir, "workspace", "a", "b")); err != nil || string(b) != content {
			t.Errorf("%q, %v", b, err)
		}
	}
	if info, err := os.Stat(filepath.Join(spec.WorkspaceDir(), "a", "b")); err != nil || info.Mode().Perm() != 0o755 && runtime.GOOS != "windows" {
		t.Errorf("%v, %v", info, err)
	}
	for _, p := range []string{"", "relative", "/etc/passwd", "/workspace", "/workspace/../state/x", "/workspace/a"} {
		if err := w.Write(p, strings.NewReader("x"), 0o644); err == nil {
			t.Errorf("%q was taken", p)
		}
	}
	if left, err := os.ReadDir(filepath.Join(spec.Dir, "unfinished")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// What a crash left of a file that was being written goes.
func TestUnfinished(t *testing.T) {
	spec := environment.Spec{Dir: t.TempDir()}
	left := filepath.Join(spec.Dir, "unfinished", "x")
	if err := os.MkdirAll(filepath.Dir(left), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := workspace.Open(spec)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
}

func TestNamesOfWindows(t *testing.T) {
	w, err := workspace.Open(environment.Spec{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	w.AsOnWindows()
	for p, why := range map[string]string{
		"con": "it is a device", "/workspace/a/NUL.txt": "it is a device", "file:stream": "it holds ':'", `a\b`: "it holds", `C:\a`: "it holds ':'", "a./b": "ends in a dot",
		"b /c": "ends in a dot or a space", strings.Repeat("ä", 256): "too long",
	} {
		_, readErr := w.ReadFile(p)
		_, existsErr := w.Exists(p)
		_, listErr := w.List(p)
		for what, err := range map[string]error{
			"read": readErr, "write": w.WriteFile(p, "x"), "append": w.AppendFile(p, "x"), "mkdir": w.Mkdir(p), "exists": existsErr, "remove": w.Remove(p), "list": listErr,
		} {
			if err == nil || !strings.Contains(err.Error(), why) || strings.Contains(err.Error(), w.Dir()) {
				t.Errorf("%s %.20q: %v, want it to say %q", what, p, err, why)
			}
		}
	}
	if err := w.WriteFile("reports/2026 Q1.csv", "x"); err != nil {
		t.Error(err)
	}
	if names, err := w.List("."); err != nil || len(names) != 1 {
		t.Errorf("%q, %v; want one folder", names, err)
	}
}

func FuzzRel(f *testing.F) {
	for _, s := range []string{"a", "/workspace/a", "../a", "/", "a/../../b", "/workspace/../x", "//workspace//a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, p string) {
		rel, err := workspace.Rel(p)
		if err != nil {
			return
		}
		if !filepath.IsLocal(rel) {
			t.Errorf("%q became %q, which leads out", p, rel)
		}
		if again, err := workspace.Rel(workspace.Shown(rel)); err != nil || again != rel {
			t.Errorf("%q became %q, and then %q (%v)", p, rel, again, err)
		}
	})
}
