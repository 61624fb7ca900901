package environmenttest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/tool"
)

func testCode(t *testing.T, s *Session) {
	t.Helper()
	for code, want := range map[string]string{
		"1 + 2":               "3",
		"'text'":              "text",
		"undefined":           "",
		"const a = 1":         "",
		"null":                "null",
		"({a: [1, {b: 2n}]})": `{"a":[1,{"b":"2n"}]}`,
		"console.log('a', 1, {b: null}); print('c')":                         "a 1 {\"b\":null}\nc\n",
		"console.log('x'); 5":                                                "x\n5",
		"await Promise.resolve(7)":                                           "7",
		"const v = await (async () => 8)(); v + 1":                           "9",
		"[...'ab'].map(x => x.toUpperCase())":                                `["A","B"]`,
		"new Map([[1, 2]])":                                                  "Map [[1,2]]",
		"x => x":                                                             "[Function: anonymous]",
		"typeof Math.random() + typeof Date.now()":                           "numbernumber",
		`parseCSV('a;"b ""c"""\r\n1;"2\n3"\n', {delimiter: ';'})`:            `[["a","b \"c\""],["1","2\n3"]]`,
		`parseCSV('n,v\nx,1\ny\n', {header: true})`:                          `[{"n":"x","v":"1"},{"n":"y","v":""}]`,
		`parseCSV(fs.readFile('in/deep/data.csv'), {header: true})[0].b * 2`: "4",
	} {
		equal(t, code, s.OK(t, "run_code", Args{"code": code}), want)
	}
	for code, want := range map[string]string{
		"function g() { throw new TypeError('bad') }\ng()": "TypeError: bad\n    at g",
		"console.log('before'); nope()":                    "before\nReferenceError:",
		"if (":                                             "SyntaxError:",
		"await Promise.reject(new Error('late'))":          "Error: late",
		"throw 'text'":                                     "text",
		"await new Promise(() => {})":                      "awaits a promise that nothing will settle",
		"parseCSV('\"a')":                                  "SyntaxError: the CSV ends",
		"fs.readFile('missing')":                           "missing does not exist",
		"fs.writeFile('f', {})":                            "TypeError: the content must be a string",
	} {
		if got := s.Exits(t, "run_code", Args{"code": code}, 1); !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want it to have %q", code, got, want)
		}
	}
}

func testCodeFiles(t *testing.T, s *Session) {
	t.Helper()
	got := s.OK(t, "run_code", Args{"code": `
		fs.writeFile('out/a.txt', 'one\n');
		fs.appendFile('/workspace/out/a.txt', 'two\n');
		fs.appendFile('given.txt', 'more\n');
		fs.mkdir('out/sub');
		fs.writeFile('out/gone', 'x'); fs.remove('out/gone');
		fs.remove('in/deep'); fs.writeFile('in/deep', 'now a file');
		console.log(fs.readLines('out/a.txt'), fs.listFiles('out'), fs.listFiles('in'), fs.listFiles());
		console.log(fs.exists('out/gone'), fs.exists('out/sub'), fs.exists('in/deep/data.csv'));
		fs.readFile('given.txt')`})
	equal(t, "seen from inside", got, `["one","two"] ["a.txt","sub/"] ["deep"] ["given.txt","in/","out/"]`+"\nfalse true false\ngiven\nmore\n")
	equal(t, "seen after", s.OK(t, "list_files", Args{"recursive": true}),
		"/workspace/given.txt\t11\n/workspace/in/\n/workspace/in/deep\t10\n/workspace/out/\n/workspace/out/a.txt\t8\n/workspace/out/sub/")
	equal(t, "removed again", s.OK(t, "run_code", Args{"code": `fs.remove('out'); fs.writeFile('out', 'f'); fs.remove('out'); fs.mkdir('out'); fs.listFiles('out')`}), "[]")
	equal(t, "seen after", s.OK(t, "list_files", Args{"path": "out"}), "(the folder is empty)")
}

func testCodeTimeout(t *testing.T, s *Session) {
	t.Helper()
	within(t, func() {
		for _, code := range []string{"for(;;);", "for(;;){try{for(;;);}catch{}}", "for(;;) fs.exists('a')", "for(;;) console.log('x')", "async function f() { for(;;) await 1 }; await f()"} {
			got := s.Exits(t, "run_code", Args{"code": code, "timeout_seconds": 1}, 1)
			if want := "[stopped: the time limit of 1s was reached]"; !strings.HasSuffix(got, want) && !strings.Contains(code, "await") {
				t.Errorf("%s: output ends with %q", code, got[max(0, len(got)-100):])
			}
		}
	})
}

func testCodeMemory(t *testing.T, s *Session) {
	t.Helper()
	for _, code := range []string{"new Uint8Array(2e9)", "let s = 'x'; for (;;) s += s", "const a = []; for (;;) a.push('x'.repeat(1e6) + a.length)"} {
		if got := s.Exits(t, "run_code", Args{"code": code, "timeout_seconds": 3600}, 1); got == "" {
			t.Errorf("%s: nothing is said", code)
		}
	}
	equal(t, "afterwards", s.OK(t, "run_code", Args{"code": "1"}), renewedJS+"1")
}

func testCodeCancel(t *testing.T, s *Session) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	raw, err := json.Marshal(Args{"code": "fs.writeFile('a', 'x'); console.log('started'); for(;;);"})
	if err != nil {
		t.Fatal(err)
	}
	within(t, func() {
		_, err = s.Server.Call(ctx, tool.Call{EffectID: "eff_1", Name: "run_code", Arguments: raw, Output: func(string) { cancel() }})
	})
	var te *tool.Error
	if !errors.As(err, &te) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want a tool.Error of the cancellation", err)
	}
	equal(t, "afterwards", s.OK(t, "run_code", Args{"code": "1"}), renewedJS+"1")
}

func testCodeOutput(t *testing.T, s *Session) {
	t.Helper()
	raw, err := json.Marshal(Args{"code": "for (let i = 0; i < 4096; i++) console.log('x'.repeat(255)); 'the end'"})
	if err != nil {
		t.Fatal(err)
	}
	var chunks []string
	res, err := s.Server.Call(t.Context(), tool.Call{EffectID: "eff_1", Name: "run_code", Arguments: raw, Output: func(c string) { chunks = append(chunks, c) }})
	got := mustSucceed(t, "run_code", res, err)
	if want := "[786439 bytes of output were cut here]"; !strings.Contains(got, want) || !strings.HasSuffix(got, "\nthe end") {
		t.Errorf("%d bytes without %q", len(got), want)
	}
	if n := len(strings.Join(chunks, "")); n != 262144 || len(chunks) < 2 {
		t.Errorf("streamed %d bytes in %d chunks", n, len(chunks))
	}
}

func testCodeConfined(t *testing.T, s *Session) {
	t.Helper()
	for _, link := range []string{"../../secret", "/", "../unfinished"} {
		symlink(t, link, s.Host(strings.ReplaceAll(link, "/", "_")))
	}
	for _, p := range []string{"/etc/passwd", "../unfinished/x", "../../secret", ".._.._secret", "_/etc/passwd", ".._unfinished/x", "/proc/self/environ", "a\x00b"} {
		path, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range []string{"fs.readFile(%s)", "fs.writeFile(%s, 'x')", "fs.appendFile(%s, 'x')", "fs.listFiles(%s)", "fs.mkdir(%s)"} {
			code := fmt.Sprintf(f, path)
			if got := s.Exits(t, "run_code", Args{"code": code}, 1); strings.Contains(got, s.Spec.Dir) {
				t.Errorf("%s: the error names a folder of this machine: %s", code, got)
			}
		}
	}
	s.Exits(t, "run_code", Args{"code": "fs.remove('/workspace')"}, 1)
	s.Exits(t, "run_code", Args{"code": "fs.remove('..')"}, 1)
	s.OK(t, "run_code", Args{"code": "fs.remove('.._.._secret')"})
	for _, code := range []string{"import('/etc/passwd')", "import('std')", "import('os')", "import('./given.txt')"} {
		s.Exits(t, "run_code", Args{"code": "await " + code}, 1)
	}
	equal(t, "what there is not", s.OK(t, "run_code", Args{"code": `
		["std", "os", "require", "process", "fetch", "XMLHttpRequest", "WebSocket", "setTimeout", "scriptArgs", "load", "__host_read"].filter(n => n in globalThis).join()`}), "")
	equal(t, "the secret", s.OK(t, "run_code", Args{"code": "Object.getOwnPropertyNames(globalThis).filter(n => n.includes('host')).length"}), "0")
}

// Deep recursion, of the code and of the interpreter, is an error of the code.
func testCodeDeepRecursion(t *testing.T, s *Session) {
	t.Helper()
	for _, code := range []string{
		"function f() { return f() + 1 }; f()",
		"JSON.parse('['.repeat(1e5))",
		"eval('('.repeat(1e6))",
		"eval('-~'.repeat(1e6) + 1)",
		"new RegExp('('.repeat(1e6))",
		"let a = []; for (let i = 0; i < 1e5; i++) a = [a]; JSON.stringify(a)",
	} {
		s.Exits(t, "run_code", Args{"code": code, "timeout_seconds": 3600}, 1)
	}
}

// Calls at the same time do not disturb each other, and no change is lost.
func testConcurrent(t *testing.T, s *Session) {
	t.Helper()
	s.OK(t, "write_file", Args{"path": "edited", "content": "0 1 2 3 4 5 6 7"})
	call := func(effect, name string, a Args) {
		raw, err := json.Marshal(a)
		if err != nil {
			t.Error(err)
			return
		}
		res, err := s.Server.Call(t.Context(), tool.Call{EffectID: effect, Name: name, Arguments: raw})
		if err != nil || res.Failed || (res.ExitCode != nil && *res.ExitCode != 0) {
			t.Errorf("%s %v: %v %q %s", name, a, err, res.Error, event.OutputText(res.Output))
		}
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			call(fmt.Sprintf("eff_c%d", i), "run_code", Args{"code": fmt.Sprintf("fs.appendFile('log', '%d\\n')", i)})
		})
		wg.Go(func() {
			call(fmt.Sprintf("eff_e%d", i), "edit_file", Args{"path": "edited", "old_text": strconv.Itoa(i), "new_text": "x"})
		})
		wg.Go(func() { call("", "write_file", Args{"path": fmt.Sprintf("w/%d", i), "content": "w"}) })
		wg.Go(func() { call("", "list_files", Args{"recursive": true}) })
	}
	wg.Wait()
	equal(t, "the edited file", s.Content(t, "edited"), strings.TrimSpace(strings.Repeat("x ", 8)))
	if n := strings.Count(s.Content(t, "log"), "\n"); n != 8 {
		t.Errorf("the log has %d lines, want 8", n)
	}
	equal(t, "what was written", s.OK(t, "run_code", Args{"code": "fs.listFiles('w').length"}), "8")
}
