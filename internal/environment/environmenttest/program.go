package environmenttest

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/tool"
)

// runPrograms runs what is asked of drivers that run programs.
func runPrograms(t *testing.T, d environment.Driver) {
	t.Helper()
	if !New(t, d).Has(t, "run_command") {
		return
	}
	for name, test := range map[string]func(*testing.T, *Session){
		"Background":      testBackground,
		"BackgroundInput": testBackgroundInput,
		"BackgroundMany":  testBackgroundMany,
		"BackgroundEnds":  testBackgroundEnds,
		"SharedTmp":       testSharedTmp,
		"SharedLoopback":  testSharedLoopback,
		"Python":          testPython,
		"PythonState":     testPythonState,
		"PythonErrors":    testPythonErrors,
		"PythonOutput":    testPythonOutput,
		"PythonRenewed":   testPythonRenewed,
		"PythonCancel":    testPythonCancel,
	} {
		t.Run(name, func(t *testing.T) { test(t, New(t, d)) })
	}
}

// Start starts a command in the background, and returns its id.
func (s *Session) Start(t *testing.T, a Args) string {
	t.Helper()
	a["background"] = true
	said := s.OK(t, "run_command", a)
	_, id, ok := strings.Cut(strings.TrimSuffix(said, "]"), "process_id: ")
	if !ok {
		t.Fatalf("no process id in %q", said)
	}
	return id
}

// until reads what a process prints until it has printed want.
func (s *Session) until(t *testing.T, id, want string) string {
	t.Helper()
	var all strings.Builder
	for !strings.Contains(all.String(), want) {
		got := s.OK(t, "read_process", Args{"process_id": id, "wait_seconds": 600})
		all.WriteString(strings.TrimSuffix(got, "["+id+" is running]"))
		if strings.Contains(got, "has ended") {
			break
		}
	}
	if !strings.Contains(all.String(), want) {
		t.Fatalf("%s ended without %q: %q", id, want, all.String())
	}
	return all.String()
}

func testBackground(t *testing.T, s *Session) {
	t.Helper()
	id := s.Start(t, Args{"command": "echo one; until [ -e go ]; do sleep 0.01; done; echo two >&2; exit 3"})
	equal(t, "the id", id, "p1")
	equal(t, "the beginning", s.until(t, id, "one\n"), "one\n")
	equal(t, "nothing new", s.OK(t, "read_process", Args{"process_id": id}), "[p1 is running]")
	s.OK(t, "write_file", Args{"path": "go", "content": ""})
	equal(t, "the end", s.until(t, id, "exit code"), "two\n[p1 has ended with exit code 3]")
	equal(t, "after the end", s.OK(t, "read_process", Args{"process_id": id, "wait_seconds": 600}), "[p1 has ended with exit code 3]")
	s.Fails(t, "write_process", Args{"process_id": id, "input": "x"}, "has ended")

	id = s.Start(t, Args{"command": "echo started; sleep 1000"})
	s.until(t, id, "started")
	equal(t, "stopped", s.OK(t, "stop_process", Args{"process_id": id}), "[p2 has ended with exit code 137]")
	id = s.Start(t, Args{"command": "head -c 1000000 /dev/zero | tr '\\0' x; echo; echo end; sleep 1000"})
	for {
		if got := s.OK(t, "read_process", Args{"process_id": id, "wait_seconds": 600}); strings.Contains(got, "end\n") {
			break
		}
	}
	s.Fails(t, "read_process", Args{"process_id": "p9"}, "there is no process p9: processes end when the environment is suspended or restarted; files are kept")
	s.Fails(t, "read_process", Args{}, "process_id is required")
	s.Fails(t, "read_process", Args{"process_id": id, "wait_seconds": 601}, "wait_seconds")
	s.Fails(t, "run_command", Args{"command": "true", "background": true, "timeout_seconds": 3}, "timeout_seconds")
	s.Open(t)
	s.Fails(t, "read_process", Args{"process_id": id}, "there is no process p3: processes end")
}

func testBackgroundInput(t *testing.T, s *Session) {
	t.Helper()
	id := s.Start(t, Args{"command": "while read line; do echo got $line; done; echo over", "stdin": "first\n"})
	equal(t, "the first line", s.until(t, id, "\n"), "got first\n")
	s.OK(t, "write_process", Args{"process_id": id, "input": "second\n"})
	equal(t, "the second line", s.until(t, id, "\n"), "got second\n")
	s.OK(t, "write_process", Args{"process_id": id, "close": true})
	equal(t, "the end", s.until(t, id, "exit code"), "over\n[p1 has ended with exit code 0]")
	s.Fails(t, "write_process", Args{"process_id": id}, "input or close")
}

func testBackgroundMany(t *testing.T, s *Session) {
	t.Helper()
	for range 16 {
		s.Start(t, Args{"command": "sleep 1000"})
	}
	s.Fails(t, "run_command", Args{"command": "true", "background": true}, "16 processes run in the background")
	s.OK(t, "stop_process", Args{"process_id": "p7"})
	equal(t, "the next id", s.Start(t, Args{"command": "sleep 1000"}), "p17")
}

// testBackgroundEnds checks that nothing goes on once the environment is closed.
func testBackgroundEnds(t *testing.T, s *Session) {
	t.Helper()
	id := s.Start(t, Args{"command": "setsid sh -c 'while :; do date +%N > beat; done' & wait"})
	s.OK(t, "run_command", Args{"command": "until [ -s beat ]; do sleep 0.01; done"})
	if err := s.Server.Close(); err != nil {
		t.Fatal(err)
	}
	s.Server = nil
	before := s.Content(t, "beat")
	s.Open(t)
	s.Fails(t, "read_process", Args{"process_id": id}, "there is no process")
	s.OK(t, "run_command", Args{"command": "sleep 0.2"})
	equal(t, "the beat", s.Content(t, "beat"), before)
}

func testSharedTmp(t *testing.T, s *Session) {
	t.Helper()
	s.OK(t, "run_command", Args{"command": "echo x > /tmp/shared; echo y > /var/tmp/other"})
	equal(t, "what another command left", s.OK(t, "run_command", Args{"command": "cat /tmp/shared /tmp/other"}), "x\ny\n")
	s.Open(t)
	equal(t, "after a restart", s.OK(t, "run_command", Args{"command": "ls -A /tmp"}), "")
	equal(t, "the workspace", s.OK(t, "run_command", Args{"command": "cat given.txt"}), "given\n")
}

func testSharedLoopback(t *testing.T, s *Session) {
	t.Helper()
	if !s.python(t) {
		return
	}
	id := s.Start(t, Args{"command": "exec python3 -u -m http.server --bind 127.0.0.1 8000"})
	s.until(t, id, "Serving HTTP")
	const get = `python3 -c 'import urllib.request; print(urllib.request.urlopen("http://127.0.0.1:8000/given.txt").read().decode(), end="")'`
	equal(t, "from another command", s.OK(t, "run_command", Args{"command": get}), "given\n")
	equal(t, "from code", s.OK(t, "run_code", Args{"language": "python", "code": `import urllib.request; urllib.request.urlopen("http://localhost:8000/given.txt").read()`}), "b'given\\n'\n")
	other := New(t, s.Driver)
	if res, err := other.Try(t.Context(), t, "", "run_command", Args{"command": get}); err != nil || *res.ExitCode == 0 {
		t.Errorf("another environment reached the server: %v %s", err, res.Output)
	}
}

// python reports whether there is Python in the environment.
func (s *Session) python(t *testing.T) bool {
	t.Helper()
	res, err := s.Try(t.Context(), t, "", "run_command", Args{"command": "command -v python3"})
	if err != nil {
		t.Fatal(err)
	}
	if *res.ExitCode != 0 {
		s.Fails(t, "run_code", Args{"language": "python", "code": "1"}, "no Python")
		return false
	}
	return true
}

// Python is the arguments of a call that runs Python code.
func Python(code string) Args { return Args{"language": "python", "code": code} }

func testPython(t *testing.T, s *Session) {
	t.Helper()
	if !s.python(t) {
		return
	}
	for code, want := range map[string]string{
		"1 + 2":                    "3\n",
		"'text'":                   "'text'\n",
		"None":                     "",
		"x = 1":                    "",
		"print('a'); 2":            "a\n2\n",
		"open('given.txt').read()": "'given\\n'\n",
		"import os; os.environ['GREETING'], os.getcwd(), os.environ['MPLBACKEND']": "('hello', '/workspace', 'Agg')\n",
		"import asyncio\nawait asyncio.sleep(0, 'done')":                           "'done'\n",
		"input":                       "<built-in function input>\n",
		"__name__":                    "'__main__'\n",
		"import sys; sys.exit()":      "",
		"def f():\n  return 7\n\nf()": "7\n",
	} {
		equal(t, code, s.OK(t, "run_code", Python(code)), want)
	}
	s.Exits(t, "run_code", Python("import sys; sys.exit(3)"), 3)
	s.Fails(t, "run_code", Python(""), "code is required")
}

func testPythonState(t *testing.T, s *Session) {
	t.Helper()
	if !s.python(t) {
		return
	}
	s.OK(t, "run_code", Python("import math\nn = 4\nclass A:\n  def g(self): return n"))
	equal(t, "what lives on", s.OK(t, "run_code", Python("n += 1; math.sqrt(16), A().g()")), "(4.0, 5)\n")
	equal(t, "the value before", s.OK(t, "run_code", Python("_[1]")), "5\n")
	equal(t, "JavaScript is apart", s.OK(t, "run_code", Args{"language": "javascript", "code": "typeof n"}), "undefined")
	equal(t, "pickling", s.OK(t, "run_code", Python("import pickle; pickle.loads(pickle.dumps(A())).g()")), "5\n")
	equal(t, "a fork", s.OK(t, "run_code", Python("import os\npid = os.fork()\nif pid: os.waitpid(pid, 0)\nelse: print('child')\nNone")), "child\n")
	equal(t, "after it", s.OK(t, "run_code", Python("n")), "5\n")
}

func testPythonErrors(t *testing.T, s *Session) {
	t.Helper()
	if !s.python(t) {
		return
	}
	equal(t, "an exception", s.Exits(t, "run_code", Python("def f():\n  return 1 / 0\nprint('before')\nf()"), 1),
		"before\nTraceback (most recent call last):\n  File \"<cell 1>\", line 4, in <module>\n    f()\n  File \"<cell 1>\", line 2, in f\n    return 1 / 0\n           ~~^~~\nZeroDivisionError: division by zero\n")
	if got := s.Exits(t, "run_code", Python("a b"), 1); !strings.HasPrefix(got, "  File \"<cell 2>\", line 1\n    a b\n") || !strings.Contains(got, "SyntaxError") {
		t.Errorf("a syntax error: %q", got)
	}
	if got := s.Exits(t, "run_code", Python("import given"), 1); !strings.HasSuffix(got, "ModuleNotFoundError: No module named 'given'\n") || strings.Contains(got, "kernel") {
		t.Errorf("%q", got)
	}
	if got := s.Exits(t, "run_code", Python("input()"), 1); !strings.HasSuffix(got, "EOFError: EOF when reading a line\n") {
		t.Errorf("%q", got)
	}
	equal(t, "afterwards", s.OK(t, "run_code", Python("1")), "1\n")
}

func testPythonOutput(t *testing.T, s *Session) {
	t.Helper()
	if !s.python(t) {
		return
	}
	equal(t, "the order", s.OK(t, "run_code", Python("import subprocess, sys, os\nfor i in range(2):\n  print(i); subprocess.run('echo sub; echo err >&2', shell=True); print('e', file=sys.stderr); os.write(1, b'raw\\n')\n'v'")),
		"0\nsub\nerr\ne\nraw\n1\nsub\nerr\ne\nraw\n'v'\n")
	raw, err := json.Marshal(Python("for i in range(4096): print('x' * 255)\nprint('the end')"))
	if err != nil {
		t.Fatal(err)
	}
	streamed := 0
	res, err := s.Server.Call(t.Context(), tool.Call{Name: "run_code", Arguments: raw, Output: func(c string) { streamed += len(c) }})
	got := mustSucceed(t, "run_code", res, err)
	if !strings.Contains(got, "bytes of output were cut here]") || !strings.HasSuffix(got, "the end\n") || streamed != 262144 {
		t.Errorf("%d bytes, streamed %d", len(got), streamed)
	}
	equal(t, "bytes that are no text", s.OK(t, "run_code", Python("sys.stdout.buffer.write(b'\\xff\\x1e'); None")), "\uFFFD\x1e")
	s.OK(t, "run_code", Python("p = subprocess.Popen('until [ -e go ]; do sleep 0.01; done; echo late', shell=True)"))
	equal(t, "what is printed later", s.OK(t, "run_code", Python("open('go', 'w').close(); p.wait()")), "late\n0\n")
}

func testPythonRenewed(t *testing.T, s *Session) {
	t.Helper()
	if !s.python(t) {
		return
	}
	s.OK(t, "run_code", Python("n = 1"))
	if got := s.Exits(t, "run_code", Args{"language": "python", "code": "print('before')\nwhile True: pass", "timeout_seconds": 1}, 124); !strings.HasPrefix(got, "before\n[stopped: the time limit of 1s was reached]") {
		t.Errorf("the time limit: %q", got)
	}
	equal(t, "afterwards", s.OK(t, "run_code", Python("'n' in globals()")), renewedPython+"False\n")
	equal(t, "it is told once", s.OK(t, "run_code", Python("1")), "1\n")
	equal(t, "an end", s.Exits(t, "run_code", Python("import os; print('x'); os._exit(7)"), 7), "x\n[the Python session ended with exit code 7]")
	equal(t, "after it", s.OK(t, "run_code", Python("1")), renewedPython+"1\n")
	s.Spec.Languages = []string{"python"}
	s.Open(t)
	equal(t, "in a later life", s.OK(t, "run_code", Python("1")), renewedPython+"1\n")
	equal(t, "of JavaScript there was none", s.OK(t, "run_code", Args{"code": "1"}), "1")
}

func testPythonCancel(t *testing.T, s *Session) {
	t.Helper()
	if !s.python(t) {
		return
	}
	ctx, cancel := context.WithCancel(t.Context())
	raw, err := json.Marshal(Python("print('started')\nwhile True: pass"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Server.Call(ctx, tool.Call{Name: "run_code", Arguments: raw, Output: func(string) { cancel() }})
	if err == nil {
		t.Error("it was not stopped")
	}
	if got := s.OK(t, "run_code", Python("1")); got != renewedPython+"1\n" {
		t.Errorf("afterwards: %q", got)
	}
}
