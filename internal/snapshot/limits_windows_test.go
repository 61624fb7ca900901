package snapshot

import (
	"strings"
	"testing"
)

// A link is restored, or the error says what to do.
func TestLinkOnWindows(t *testing.T) {
	tree, f := onWindows(t)
	b := tree.newBatch(t.Context())
	root, _, err := b.storeDir([]entry{{name: "link", kind: Link, target: "a/b"}}, nil)
	if err == nil {
		err = b.wait()
	}
	if err != nil {
		t.Fatal(err)
	}
	if err = f.Restore(t.Context(), root); err == nil {
		if snap, err := f.Capture(t.Context()); err != nil || snap.Root != root {
			t.Errorf("Capture after Restore: %v (%v), want %v", snap.Root, err, root)
		}
		return
	}
	if !strings.Contains(err.Error(), `"link"`) || !strings.Contains(err.Error(), "Developer Mode") && !strings.Contains(err.Error(), "NTFS") {
		t.Errorf("the error does not say what to do: %v", err)
	}
}
