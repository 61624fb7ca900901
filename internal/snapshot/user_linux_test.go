package snapshot_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestAsUser runs the tests of permissions as somebody who has to keep to them.
func TestAsUser(t *testing.T) {
	if os.Geteuid() != 0 {
		return // the tests themselves run so
	}
	exe, err := os.ReadFile("/proc/self/exe")
	must(t, err)
	dir, err := os.MkdirTemp("/tmp", "snapshot-user-") //nolint:usetesting // a folder above that of t.TempDir is closed to others
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	copied := filepath.Join(dir, "test")
	must(t, os.WriteFile(copied, exe, 0o755))
	must(t, os.Chmod(dir, 0o777))
	cmd := exec.CommandContext(t.Context(), copied, "-test.run=^(TestPermissions|TestKilledRestore|TestRestoreDeletesDeepFolders)$", "-test.v")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Count(string(out), "--- PASS: ") != 3 {
		t.Errorf("as another user: %v\n%s", err, out)
	}
}
