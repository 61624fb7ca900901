package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestExecSandbox confines programs to the folder.
func TestExecSandbox(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	n := serveRuntime(t)
	h := n.create("pwd; echo kept > kept.txt; cat " + secret + " || echo hidden")
	p := h.exec("--sandbox", "bubblewrap")
	if got := h.answer(); !strings.HasPrefix(got, "It said: /workspace\n") || !strings.HasSuffix(got, "hidden\n") {
		t.Errorf("the answer is %q, want the workspace's path, and that the file is hidden", got)
	}
	if got := h.file("kept.txt"); got != "kept\n" {
		t.Errorf("the file holds %q, want that it is in the folder", got)
	}
	p.says("in the bubblewrap sandbox", 1)
}
