package environmenttest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// fileAttempts reach for files of the machine by their names.
func fileAttempts() []attempt {
	const g = "Files"
	all := []attempt{
		reads(g, "ASecretByItsPath", "cat @BASE/secret"),
		reads(g, "ASecretBesideTheWorkspace", "cat ../../secret ../secret; cat /workspace/../../secret"),
		reads(g, "AnotherSession", "cat @BASE/other/files/secret ../../other/files/secret"),
		reads(g, "ASecretBySearch", "find / -xdev -name secret -exec cat {} + 2>/dev/null; find /tmp /var/tmp /home /root -name secret -exec cat {} +"),
		reads(g, "ASecretByAHardLink", "ln @BASE/secret hard; cat hard"),
		reads(g, "ASecretByACopy", "cp -r @BASE/other . && cat other/files/secret"),
		reads(g, "ASecretByGlob", "cat /tmp/*/*/secret /tmp/*/*/*/secret /proc/*/cwd/secret"),
		{group: g, name: "Shadow", tool: "run_command", safe: true, try: shadow},
		{group: g, name: "TheHomeOfRoot", tool: "run_command", safe: true, try: func(t *testing.T, e *escape) string { return lists(t, e, "/root") }},
		{group: g, name: "TheRuntimesFolder", tool: "run_command", safe: true, try: func(t *testing.T, e *escape) string {
			if err := os.WriteFile(filepath.Join(e.Spec.Dir, "state-secret"), []byte(e.out.token), 0o600); err != nil {
				t.Fatal(err)
			}
			return e.told(e.run(t, "cat ../state-secret "+e.Spec.Dir+"/state-secret /proc/self/cwd/../state-secret; find / /workspace /tmp -xdev -name state-secret -exec cat {} + 2>/dev/null"))
		}},
	}
	for name, command := range map[string]string{
		"AFileBeside":            "echo x > @BASE/made; echo x > ../../made",
		"ToAFileOutside":         "echo x >> @BASE/append; echo x > @BASE/secret",
		"ThroughTheFirstProcess": "echo x > /proc/1/root@BASE/made; echo x > /proc/1/cwd/@BASE/made",
		"IntoTmp":                "echo x > /tmp/@TOKEN; echo x > /var/tmp/@TOKEN; echo x > /dev/shm/@TOKEN",
		"IntoSystemFolders":      "for d in / /etc /usr /usr/bin /usr/lib /bin /run /var /dev /opt /home /root /srv; do echo x > $d/@TOKEN; mkdir $d/@TOKEN-dir; done",
		"ByRename":               "echo x > a; mv a @BASE/made; mv a ../../made; python3 -c 'import os; os.rename(\"/workspace/a\", \"@BASE/made\")'",
		"ByRemoval":              "rm -rf @BASE/target @BASE/secret ../../secret",
		"ByTruncation":           "truncate -s 0 @BASE/secret; python3 -c 'import os; os.truncate(\"@BASE/secret\", 0)'",
	} {
		all = append(all, attempt{group: g, name: "Write" + name, tool: "run_command", safe: name != "IntoSystemFolders", try: func(t *testing.T, e *escape) string {
			e.run(t, command)
			return ""
		}})
	}
	return all
}

func shadow(t *testing.T, e *escape) string {
	o := e.run(t, "cat /etc/shadow /etc/gshadow /proc/self/root/etc/shadow /proc/1/root/etc/shadow; cat /etc/passwd")
	for _, name := range []string{"/etc/shadow", "/etc/passwd"} {
		b, _ := os.ReadFile(name) // one that the runtime may not read, no program of it may
		for line := range strings.Lines(string(b)) {
			// The user that anyone's programs seem to be is no secret.
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "nobody:") && strings.Contains(o.text, line) {
				return fmt.Sprintf("%s: %s", name, line[:min(len(line), 12)])
			}
		}
	}
	return ""
}

// lists reports a folder of the machine that is seen as it is.
func lists(t *testing.T, e *escape, dir string) string {
	entries, _ := os.ReadDir(dir) // one that the runtime may not read, no program of it may
	if len(entries) == 0 {
		return ""
	}
	seen := e.run(t, "ls -A "+dir).text
	for _, entry := range entries {
		if !strings.Contains(seen, entry.Name()) {
			return ""
		}
	}
	return dir + " is seen: " + seen
}

// linkAttempts make links that lead outside, and have the tools follow them.
func linkAttempts() []attempt {
	const g = "Links"
	targets := map[string]string{
		"Up": "../..", "Absolute": "@BASE", "AbsoluteUp": "/workspace/../../..@BASE", "Proc": "/proc/self/root@BASE", "Two": "one/..", "First": "/proc/1/root@BASE",
		"Cwd": "/proc/self/cwd/../..", "Slashes": "//..//../" + "@BASE",
	}
	var all []attempt
	for name, target := range targets {
		all = append(all, attempt{group: g, name: "Read" + name, try: func(t *testing.T, e *escape) string {
			e.link(t, "..", "one", e.out.fill(target), "out")
			o := e.call(t, "read_file", Args{"path": "out/secret"})
			o.text += e.call(t, "list_files", Args{"path": "out", "recursive": true}).text
			if strings.Contains(o.text, "/secret\t") {
				return "the folder outside is listed: " + o.text
			}
			return e.told(o)
		}}, attempt{group: g, name: "Write" + name, try: func(t *testing.T, e *escape) string {
			e.link(t, "..", "one", e.out.fill(target), "out")
			e.call(t, "write_file", Args{"path": "out/made", "content": "x"})
			e.call(t, "write_file", Args{"path": "out/target/made", "content": "x"})
			e.call(t, "write_file", Args{"path": "out/append", "content": "x"})
			e.call(t, "edit_file", Args{"path": "out/secret", "old_text": e.out.token, "new_text": "x"})
			return ""
		}})
	}
	return append(all,
		attempt{group: g, name: "ToAFile", try: func(t *testing.T, e *escape) string {
			e.link(t, e.out.fill("@BASE/secret"), "file")
			e.call(t, "write_file", Args{"path": "file", "content": "x"})
			e.call(t, "edit_file", Args{"path": "file", "old_text": e.out.token[:4], "new_text": "x"})
			return e.told(e.call(t, "read_file", Args{"path": "file"}))
		}},
		attempt{group: g, name: "ToAFileThatIsNotThere", try: func(t *testing.T, e *escape) string {
			e.link(t, e.out.fill("@BASE/made"), "new")
			e.call(t, "write_file", Args{"path": "new", "content": "x"})
			return ""
		}},
		attempt{group: g, name: "AsCwd", tool: "run_command", safe: true, try: func(t *testing.T, e *escape) string {
			e.link(t, e.out.base, "out", "../..", "up")
			o := e.call(t, "run_command", Args{"command": "cat secret; pwd -P", "cwd": "out"})
			o.text += e.call(t, "run_command", Args{"command": "cat secret", "cwd": "/workspace/up"}).text
			return e.told(o)
		}},
		attempt{group: g, name: "FollowedByCommands", tool: "run_command", safe: true, try: func(t *testing.T, e *escape) string {
			e.link(t, e.out.base, "out")
			return e.told(e.run(t, "cat out/secret; cat out/target/inside; echo x > out/made"))
		}},
		attempt{group: g, name: "SwappedWhileWriting", try: swappedWhileWriting},
		attempt{group: g, name: "SwappedWhileReading", try: swappedWhileReading},
		attempt{group: g, name: "SwappedFileWhileEditing", try: swappedWhileEditing},
		attempt{group: g, name: "SwappedCwd", tool: "run_command", safe: true, try: swappedCwd},
	)
}

// swap exchanges the names d and l in the workspace as fast as can be, as a
// program in the environment would, until done is called.
func (e *escape) swap(t *testing.T) (done func()) {
	t.Helper()
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				ended <- nil
				return
			default:
			}
			if err := unix.Renameat2(unix.AT_FDCWD, e.Host("d"), unix.AT_FDCWD, e.Host("l"), unix.RENAME_EXCHANGE); err != nil {
				ended <- err
				return
			}
		}
	}()
	return func() {
		close(stop)
		if err := <-ended; err != nil {
			t.Errorf("swap: %v", err)
		}
	}
}

// trap makes a folder d and a link l to one outside, which are to be exchanged.
func (e *escape) trap(t *testing.T) {
	t.Helper()
	if err := os.Mkdir(e.Host("d"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(e.Host("d/inside"), []byte("harmless"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(e.out.base, "target"), e.Host("l")); err != nil {
		t.Fatal(err)
	}
}

// races is how often a race is run.
const races = 300

func swappedWhileWriting(t *testing.T, e *escape) string {
	e.trap(t)
	defer e.swap(t)()
	for i := range races {
		e.tryCall(t, "write_file", Args{"path": fmt.Sprintf("d/made%d", i%7), "content": "x"})
		if i%8 == 0 {
			e.tryCall(t, "run_code", Args{"language": "javascript", "code": "fs.writeFile('d/made', 'x'); fs.appendFile('d/inside', 'x')"})
		}
	}
	return ""
}

func swappedWhileReading(t *testing.T, e *escape) string {
	e.trap(t)
	defer e.swap(t)()
	for range races {
		if o := e.tryCall(t, "read_file", Args{"path": "d/inside"}); strings.Contains(o, e.out.token) {
			return "the output has a secret"
		}
	}
	return ""
}

func swappedWhileEditing(t *testing.T, e *escape) string {
	if err := os.WriteFile(e.Host("d"), []byte(e.out.token), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(e.out.base, "secret"), e.Host("l")); err != nil {
		t.Fatal(err)
	}
	defer e.swap(t)()
	for range races {
		e.tryCall(t, "edit_file", Args{"path": "d", "old_text": e.out.token, "new_text": e.out.token + " "})
		e.tryCall(t, "edit_file", Args{"path": "d", "old_text": e.out.token + " ", "new_text": e.out.token})
	}
	return ""
}

func swappedCwd(t *testing.T, e *escape) string {
	e.trap(t)
	done := e.swap(t)
	defer done()
	for range 10 {
		if o := e.tryCall(t, "run_command", Args{"command": "cat inside; echo x > made", "cwd": "d"}); strings.Contains(o, e.out.token) {
			return "the output has a secret"
		}
	}
	return ""
}

// tryCall performs a call that may fail in any way, and returns what an agent
// sees of it.
func (e *escape) tryCall(t *testing.T, name string, a Args) string {
	t.Helper()
	res, err := e.Try(t.Context(), t, "", name, a)
	if err != nil {
		return err.Error()
	}
	return res.Error + string(res.Output)
}

// spellings are ways to write a path to the file outside.
func (e *escape) spellings() map[string]string {
	b := e.out.base
	return map[string]string{
		"Dots": "../../secret", "DotsFromTop": "/workspace/../../secret", "Absolute": b + "/secret", "DotsBelow": "in/../../../secret",
		"TwoSlashes": "//" + b + "/secret", "FourDots": "....//....//secret", "SlashesAndDots": "/workspace//.././/../secret",
		"Encoded": "%2e%2e/%2e%2e/secret", "EncodedTwice": "%252e%252e%252fsecret", "EncodedSlash": "..%2f..%2fsecret", "Overlong": "..\xc0\xaf..\xc0\xafsecret",
		"Backslashes": `..\..\secret`, "AbsoluteBackslashes": `\workspace\..\..\secret`, "NUL": "given.txt\x00/../../secret", "NULAtTheEnd": b + "/secret\x00.txt",
		"VeryLong": strings.Repeat("../", 4000) + b[1:] + "/secret", "LongName": strings.Repeat("a", 5000) + "/../../../secret", "Newline": "\n../../secret",
		"FullWidth": "\uff0e\uff0e/\uff0e\uff0e/secret", "Space": " ../../secret", "Home": "~/../.." + b + "/secret", "URL": "file://" + b + "/secret",
		"Proc": "/proc/self/cwd/../../secret", "ProcRoot": "/proc/self/root" + b + "/secret", "SessionDir": e.Spec.Dir + "/../secret",
		"CaseOfTop": "/WORKSPACE/../.." + b + "/secret", "TopAsPrefix": "/workspace../secret", "Variable": "$HOME/../../secret", "Empty": "./../../secret/.",
	}
}

// pathAttempts spell paths that lead outside, in every tool that takes one.
func pathAttempts() []attempt {
	const g = "Paths"
	each := func(name, needs string, try func(t *testing.T, e *escape, path string) string) attempt {
		return attempt{group: g, name: name, tool: needs, safe: needs == "run_command", try: func(t *testing.T, e *escape) string {
			for spelling, p := range e.spellings() {
				if through := try(t, e, p); through != "" {
					return spelling + ": " + through
				}
				if through := e.out.touched(); through != "" {
					return spelling + ": " + through
				}
			}
			return ""
		}}
	}
	return []attempt{
		each("ReadFile", "", func(t *testing.T, e *escape, p string) string { return e.told(e.call(t, "read_file", Args{"path": p})) }),
		each("WriteFile", "", func(t *testing.T, e *escape, p string) string {
			e.call(t, "write_file", Args{"path": p, "content": "x"})
			e.call(t, "write_file", Args{"path": strings.Replace(p, "secret", "made", 1), "content": "x"})
			return ""
		}),
		each("EditFile", "", func(t *testing.T, e *escape, p string) string {
			return e.told(e.call(t, "edit_file", Args{"path": p, "old_text": e.out.token[:5], "new_text": "x"}))
		}),
		each("ListFiles", "", func(t *testing.T, e *escape, p string) string {
			dir, _, _ := strings.Cut(p, "/secret")
			if o := e.call(t, "list_files", Args{"path": dir, "recursive": true}); strings.Contains(o.text, "/append\t") {
				return o.text
			}
			return ""
		}),
		each("Cwd", "run_command", func(t *testing.T, e *escape, p string) string {
			dir, _, _ := strings.Cut(p, "/secret")
			o := e.call(t, "run_command", Args{"command": "cat secret", "cwd": dir})
			return e.told(o)
		}),
		each("CodeReads", "run_code", func(t *testing.T, e *escape, p string) string {
			return e.told(e.call(t, "run_code", Args{"language": "javascript", "code": fmt.Sprintf("fs.readFile(%s)", quote(p))}))
		}),
		each("CodeWrites", "run_code", func(t *testing.T, e *escape, p string) string {
			return e.told(e.call(t, "run_code", Args{"language": "javascript", "code": fmt.Sprintf("fs.writeFile(%s, 'x'); fs.appendFile(%[1]s, 'x'); fs.remove(%[1]s)", quote(p))}))
		}),
		each("CodeLists", "run_code", func(t *testing.T, e *escape, p string) string {
			dir, _, _ := strings.Cut(p, "/secret")
			if o := e.call(t, "run_code", Args{"language": "javascript", "code": fmt.Sprintf("JSON.stringify(fs.listFiles(%s))", quote(dir))}); strings.Contains(o.text, `"append"`) {
				return o.text
			}
			return ""
		}),
	}
}

// quote is the string as JavaScript source.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		if r < 0x7f && r >= ' ' && r != '"' && r != '\\' {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\u{%x}`, r)
		}
	}
	return b.String() + `"`
}
