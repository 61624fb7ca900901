package environmenttest

import (
	"strings"
	"testing"
)

// Names that Windows does not take, or takes for something else than a file, are
// refused by name.
func testSpecialFiles(t *testing.T, s *Session) {
	t.Helper()
	for path, why := range map[string]string{
		"con": "it is a device", "in/NUL.txt": "it is a device", "given.txt:stream": "it holds ':'", "a.": "ends in a dot", "b /c": "a dot or a space",
		`in\deep\data.csv`: "it holds", `C:\x`: "it holds ':'", "what?": "it holds '?'",
	} {
		s.Fails(t, "read_file", Args{"path": path}, why)
		s.Fails(t, "write_file", Args{"path": path, "content": "x"}, why)
		s.Fails(t, "edit_file", Args{"path": path, "old_text": "a", "new_text": "x"}, why)
		s.Fails(t, "list_files", Args{"path": path}, why)
		s.Exits(t, "run_code", Args{"code": "fs.writeFile(" + quote(path) + ", 'x')"}, 1)
		s.Exits(t, "run_code", Args{"code": "fs.mkdir(" + quote(path) + ")"}, 1)
		s.Exits(t, "run_code", Args{"code": "fs.remove(" + quote(path) + ")"}, 1)
	}
	equal(t, "given.txt", s.Content(t, "given.txt"), "given\n")
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, `\`, `\\`) + "'" }
