package gvisor

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stayd/stayd/internal/environment"
)

func TestFind(t *testing.T) {
	home, bin, elsewhere := t.TempDir(), t.TempDir(), t.TempDir()
	t.Setenv("PATH", elsewhere)
	t.Setenv("GOBIN", "")
	t.Setenv("GOPATH", "")
	t.Setenv("HOME", home)
	program := func(dir string) string {
		t.Helper()
		name := filepath.Join(dir, "runsc")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, nil, 0o700); err != nil {
			t.Fatal(err)
		}
		return name
	}
	var u *environment.UnavailableError
	if _, err := find(""); !errors.As(err, &u) || u.Install != "install runsc: stayd doctor --install gvisor" {
		t.Errorf("where there is none: %v", err)
	}
	// Each place comes before those that were there already.
	want := program(filepath.Join(home, "go", "bin"))
	expect := func(configured string) {
		t.Helper()
		if got, err := find(configured); err != nil || got != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	expect("")
	want = program(bin)
	t.Setenv("GOBIN", bin)
	expect("")
	want = program(elsewhere)
	expect("")
	want = program(t.TempDir())
	expect(want)
	if _, err := find(filepath.Join(home, "runsc")); !errors.As(err, &u) {
		t.Errorf("a configured one that is not there: %v", err)
	}
}
