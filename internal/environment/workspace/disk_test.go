package workspace_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/workspace"
)

func TestDisk(t *testing.T) {
	w, err := workspace.Open(environment.Spec{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	d := workspace.NewDisk(1<<20, w.Dir())
	w.SetDisk(d)
	half := strings.Repeat("x", 600<<10)
	for range 20 { // what is replaced does not count
		if err := w.WriteFile("a", half); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.WriteFile("b", half); err == nil || !strings.Contains(err.Error(), "the disk limit of 1 MiB") {
		t.Errorf("the limit was passed: %v", err)
	}
	if err := w.AppendFile("a", half); err == nil {
		t.Error("the limit was passed by adding")
	}
	if d.Over() {
		t.Error("it is over its limit")
	}
	if err := w.Remove("a"); err != nil {
		t.Fatal(err)
	}
	if err := w.WriteFile("b", half); err != nil {
		t.Errorf("after tidying up: %v", err)
	}
}

// TestDiskBesideOthers has a program write while somebody else gives back more of
// the same disk.
func TestDiskBesideOthers(t *testing.T) {
	dir, others := t.TempDir(), filepath.Join(t.TempDir(), "others")
	if err := os.WriteFile(others, make([]byte, 16<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	d := workspace.NewDisk(1<<20, dir)
	if d.Over() {
		t.Error("an empty folder is over its limit")
	}
	err := os.WriteFile(filepath.Join(dir, "written"), make([]byte, 2<<20), 0o600)
	if err := errors.Join(err, os.Remove(others)); err != nil {
		t.Fatal(err)
	}
	if !d.Over() {
		t.Error("2 MiB are within a limit of 1")
	}
}
