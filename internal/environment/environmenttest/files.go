package environmenttest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/event"
)

func testList(t *testing.T, s *Session) {
	t.Helper()
	specs, err := s.Server.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]event.Class{
		"read_file": event.Pure, "list_files": event.Pure, "write_file": event.Idempotent, "edit_file": event.Idempotent,
		"run_code": event.Idempotent, "run_command": event.Idempotent, "read_process": event.Pure, "write_process": event.Idempotent, "stop_process": event.Idempotent,
	}
	found := map[string]bool{}
	for _, spec := range specs {
		found[spec.Name] = true
		if class, ok := want[spec.Name]; ok && spec.Class != class {
			t.Errorf("%s has the class %q, want %q", spec.Name, spec.Class, class)
		}
		wantType := event.ItemMCPCall
		if strings.HasPrefix(spec.Name, "run_") {
			wantType = event.ItemCommandExecution
		}
		equal(t, spec.Name+" becomes", spec.ItemType, wantType)
		var schema struct {
			Type string `json:"type"`
		}
		if err := json.Unmarshal(spec.Parameters, &schema); err != nil || schema.Type != "object" {
			t.Errorf("%s: bad schema: %v", spec.Name, err)
		}
	}
	for _, name := range []string{"read_file", "list_files", "write_file", "edit_file", "run_code"} {
		if !found[name] {
			t.Errorf("there is no %s", name)
		}
	}
}

func testReadAndWrite(t *testing.T, s *Session) {
	t.Helper()
	equal(t, "given", s.OK(t, "read_file", Args{"path": "/workspace/given.txt"}), "given\n")
	equal(t, "relative", s.OK(t, "read_file", Args{"path": "in/deep/../deep/data.csv"}), "a,b\n1,2\n")
	s.OK(t, "write_file", Args{"path": "new/folder/ö.txt", "content": "héllo"})
	equal(t, "written", s.OK(t, "read_file", Args{"path": "/workspace/new/folder/ö.txt"}), "héllo")
	s.OK(t, "write_file", Args{"path": "new/folder/ö.txt", "content": ""})
	equal(t, "emptied", s.OK(t, "read_file", Args{"path": "new/folder/ö.txt"}), "")
	s.Fails(t, "read_file", Args{"path": "nothing.txt"}, "does not exist")
	s.Fails(t, "read_file", Args{"path": "in"}, "is a folder")
	s.Fails(t, "write_file", Args{"path": "in", "content": "x"}, "is a folder")
	s.Fails(t, "write_file", Args{"path": "given.txt/below", "content": "x"}, "given.txt/below")
	if err := os.WriteFile(s.Host("bin"), []byte("\x89PNG\r\n\x1a\n\x00\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Fails(t, "read_file", Args{"path": "bin"}, "binary file (image/png, 10 bytes)")
	if err := os.WriteFile(s.Host("tool.sh"), []byte("old"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.OK(t, "write_file", Args{"path": "tool.sh", "content": "new"})
	if info, err := os.Stat(s.Host("tool.sh")); err != nil || info.Mode().Perm()&0o100 == 0 && runtime.GOOS != "windows" {
		t.Errorf("the file is not executable any more: %v, %v", info.Mode(), err)
	}
}

func testReadInPieces(t *testing.T, s *Session) {
	t.Helper()
	s.OK(t, "write_file", Args{"path": "f", "content": "ab€de"})
	equal(t, "piece", s.OK(t, "read_file", Args{"path": "f", "limit": 4}), "ab\n[bytes 0 to 2 of 7; go on with offset 2]")
	equal(t, "rest", s.OK(t, "read_file", Args{"path": "f", "offset": 2}), "€de")
	equal(t, "end", s.OK(t, "read_file", Args{"path": "f", "offset": 7}), "")
	s.Fails(t, "read_file", Args{"path": "f", "offset": 8}, "has only 7 bytes")
	s.OK(t, "write_file", Args{"path": "big", "content": strings.Repeat("x", 1<<20+5)})
	got := s.OK(t, "read_file", Args{"path": "big"})
	if !strings.HasSuffix(got, "x\n[bytes 0 to 1048576 of 1048581; go on with offset 1048576]") {
		t.Errorf("the end is %q", got[len(got)-80:])
	}
	equal(t, "the rest", s.OK(t, "read_file", Args{"path": "big", "offset": 1 << 20}), "xxxxx")
}

func testEdit(t *testing.T, s *Session) {
	t.Helper()
	s.OK(t, "write_file", Args{"path": "f", "content": "one two, two"})
	equal(t, "answer", s.OK(t, "edit_file", Args{"path": "f", "old_text": "one", "new_text": "1"}), "changed 1 place in /workspace/f")
	s.Fails(t, "edit_file", Args{"path": "f", "old_text": "one", "new_text": "1"}, "is not in /workspace/f")
	s.Fails(t, "edit_file", Args{"path": "f", "old_text": "two", "new_text": "2"}, "2 times")
	equal(t, "answer", s.OK(t, "edit_file", Args{"path": "f", "old_text": "two", "new_text": "2", "replace_all": true}), "changed 2 places in /workspace/f")
	equal(t, "file", s.Content(t, "f"), "1 2, 2")
	s.Fails(t, "edit_file", Args{"path": "missing", "old_text": "a", "new_text": "b"}, "does not exist")
	s.Fails(t, "edit_file", Args{"path": "in", "old_text": "a", "new_text": "b"}, "is a folder")
}

func testListFiles(t *testing.T, s *Session) {
	t.Helper()
	symlink(t, "given.txt", s.Host("link"))
	equal(t, "top", s.OK(t, "list_files", Args{}), "/workspace/given.txt\t6\n/workspace/in/\n/workspace/link -> given.txt")
	equal(t, "all", s.OK(t, "list_files", Args{"path": "in", "recursive": true}), "/workspace/in/deep/\n/workspace/in/deep/data.csv\t8")
	equal(t, "one", s.OK(t, "list_files", Args{"limit": 1}), "/workspace/given.txt\t6\n[only the first 1 entries are listed]")
	s.Fails(t, "list_files", Args{"path": "given.txt"}, "is not a folder")
	s.Fails(t, "list_files", Args{"path": "missing"}, "does not exist")
	if err := os.Mkdir(s.Host("empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	equal(t, "empty", s.OK(t, "list_files", Args{"path": "empty"}), "(the folder is empty)")
}

// symlink makes a link, which not every user of Windows may.
func symlink(t *testing.T, target, path string) {
	t.Helper()
	err := os.Symlink(target, path)
	if err == nil {
		_, err = os.Readlink(path)
	}
	if err != nil && runtime.GOOS == "windows" {
		t.Skipf("this user may make no links: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func testBadArguments(t *testing.T, s *Session) {
	t.Helper()
	s.Fails(t, "read_file", Args{}, "path is required")
	s.Fails(t, "read_file", Args{"path": "f", "lines": 3}, `"lines"`)
	s.Fails(t, "read_file", Args{"path": 3}, "path")
	s.Fails(t, "read_file", Args{"path": "f", "offset": -1}, "offset")
	s.Fails(t, "write_file", Args{"path": "f"}, "required")
	s.Fails(t, "edit_file", Args{"path": "f", "old_text": "", "new_text": "x"}, "required")
	s.Fails(t, "list_files", Args{"limit": 10_001}, "limit")
	s.Fails(t, "run_code", Args{}, "code is required")
	s.Fails(t, "run_code", Args{"code": "1", "timeout_seconds": 3601}, "timeout_seconds")
	s.Fails(t, "launch", Args{}, "launch")
}

func testPaths(t *testing.T, s *Session) {
	t.Helper()
	onHost := filepath.ToSlash(strings.TrimPrefix(s.Spec.Dir, filepath.VolumeName(s.Spec.Dir)))
	for _, p := range []string{"../secret", "../../secret", "/etc/passwd", "/", "/workspace/../etc/passwd", "in/../../secret", "/workspace/../unfinished/x", "/workspacex/a", "//etc/passwd", "/proc/self/root/etc/passwd", onHost + "/workspace/given.txt"} {
		s.Fails(t, "read_file", Args{"path": p}, "outside of /workspace")
		s.Fails(t, "write_file", Args{"path": p, "content": "x"}, "outside of /workspace")
		s.Fails(t, "edit_file", Args{"path": p, "old_text": "s", "new_text": "x"}, "outside of /workspace")
		s.Fails(t, "list_files", Args{"path": p}, "outside of /workspace")
	}
	s.Fails(t, "read_file", Args{"path": "a\x00b"}, "NUL")
	s.Fails(t, "read_file", Args{"path": strings.Repeat("a", 300)}, "too long")
}

// Links that an agent made lead nowhere outside, and are followed inside.
func testLinks(t *testing.T, s *Session) {
	t.Helper()
	for name, target := range map[string]string{
		"up": "..", "host": "/", "state": "../unfinished", "secret": "../../secret", "abs": filepath.Join(filepath.Dir(s.Spec.Dir), "secret"),
		"loop": "loop", "two": "up/unfinished", "proc": "/proc/self/root",
	} {
		symlink(t, target, s.Host(name))
	}
	for _, p := range []string{"up/unfinished/x", "up", "host/etc/passwd", "state/x", "secret", "abs", "loop", "loop/x", "two/x", "proc/etc/passwd"} {
		s.Fails(t, "read_file", Args{"path": p}, "")
		s.Fails(t, "write_file", Args{"path": p, "content": "x"}, "")
		s.Fails(t, "edit_file", Args{"path": p, "old_text": "s", "new_text": "x"}, "")
	}
	for _, p := range []string{"up", "host", "state", "proc", "host/etc"} {
		s.Fails(t, "list_files", Args{"path": p, "recursive": true}, "")
	}
	if b, err := os.ReadFile(filepath.Join(filepath.Dir(s.Spec.Dir), "secret")); err != nil || string(b) != "secret" {
		t.Errorf("the secret is now %q, %v", b, err)
	}
	for name, target := range map[string]string{"rel": "in/deep", "agent": "/workspace/in/deep"} {
		symlink(t, target, s.Host(name))
		equal(t, name, s.OK(t, "read_file", Args{"path": name + "/data.csv"}), "a,b\n1,2\n")
		s.OK(t, "write_file", Args{"path": name + "/" + name, "content": name})
		equal(t, name, s.Content(t, "in/deep/"+name), name)
	}
}

// Writing never changes another name of the same file.
func testHardLink(t *testing.T, s *Session) {
	t.Helper()
	secret := filepath.Join(filepath.Dir(s.Spec.Dir), "secret")
	for _, name := range []string{"written", "edited", "coded"} {
		if err := os.Link(secret, s.Host(name)); err != nil {
			t.Fatal(err)
		}
	}
	s.OK(t, "write_file", Args{"path": "written", "content": "changed"})
	s.OK(t, "edit_file", Args{"path": "edited", "old_text": "secret", "new_text": "changed"})
	s.OK(t, "run_code", Args{"code": "fs.appendFile('coded', '!')"})
	if b, err := os.ReadFile(secret); err != nil || string(b) != "secret" {
		t.Errorf("the other name of the file now has %q, %v", b, err)
	}
}

func testLimits(t *testing.T, s *Session) {
	t.Helper()
	s.Fails(t, "write_file", Args{"path": "f", "content": strings.Repeat("x", 10<<20+1)}, "at most 10485760")
	s.OK(t, "write_file", Args{"path": "f", "content": strings.Repeat("x", 10<<20)})
	s.Fails(t, "edit_file", Args{"path": "f", "old_text": "x", "new_text": "xx", "replace_all": true}, "over 10485760 bytes")
	if err := os.Truncate(s.Host("f"), 10<<20+1); err != nil {
		t.Fatal(err)
	}
	s.Fails(t, "edit_file", Args{"path": "f", "old_text": "x", "new_text": "y"}, "too large")
}

// What was changed or deleted stays so, when the environment is opened again.
func testReopen(t *testing.T, s *Session) {
	t.Helper()
	s.OK(t, "write_file", Args{"path": "given.txt", "content": "changed"})
	s.OK(t, "run_code", Args{"code": "fs.remove('in')"})
	s.Open(t)
	equal(t, "the files", s.OK(t, "list_files", Args{"recursive": true}), "/workspace/given.txt\t7")
	equal(t, "the changed file", s.OK(t, "read_file", Args{"path": "given.txt"}), "changed")
}

func testCloseTwice(t *testing.T, s *Session) {
	t.Helper()
	for range 2 {
		if err := s.Server.Close(); err != nil {
			t.Error(err)
		}
	}
}
