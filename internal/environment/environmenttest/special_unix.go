//go:build unix

package environmenttest

import (
	"os"
	"syscall"
	"testing"
)

func testSpecialFiles(t *testing.T, s *Session) {
	t.Helper()
	if err := syscall.Mkfifo(s.Host("fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	within(t, func() {
		s.Fails(t, "read_file", Args{"path": "fifo"}, "is not a regular file")
		s.Fails(t, "write_file", Args{"path": "fifo", "content": "x"}, "is not a regular file")
		s.Fails(t, "edit_file", Args{"path": "fifo", "old_text": "a", "new_text": "x"}, "is not a regular file")
		s.Exits(t, "run_code", Args{"code": "fs.readFile('fifo')"}, 1)
	})
	if err := syscall.Mknod(s.Host("zero"), syscall.S_IFCHR|0o600, 1<<8|5); err != nil {
		if os.Geteuid() == 0 {
			t.Fatal(err)
		}
		return // only root can make a device, and so no agent can
	}
	within(t, func() { s.Fails(t, "read_file", Args{"path": "zero"}, "") })
}
