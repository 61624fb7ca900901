package environmenttest

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/tool"
)

const (
	renewedJS     = "[a new JavaScript session was started: variables of earlier calls are gone; files are kept]\n"
	renewedPython = "[a new Python session was started: variables of earlier calls are gone; files are kept]\n"
)

// testCodeState checks that what code declares lives on.
func testCodeState(t *testing.T, s *Session) {
	t.Helper()
	s.OK(t, "run_code", Args{"code": `
let count = 1
const {a, list: [first]} = {a: 2, list: [3]};
function twice(x) { return 2 * x }
class Box { constructor(v) { this.v = v } get() { return twice(this.v) } }
const later = await Promise.resolve(4)
var old = 5; implicit = 6`})
	equal(t, "what lives on", s.OK(t, "run_code", Args{"code": "count++; [count, a, first, new Box(7).get(), later, old, implicit].join()"}), "2,2,3,14,4,5,6")
	s.Exits(t, "run_code", Args{"code": "const half = 1; throw new Error('no')"}, 1)
	equal(t, "after an error", s.OK(t, "run_code", Args{"code": "half + count"}), "3")
	s.OK(t, "run_code", Args{"code": "fs.writeFile('kept', 'x')"})
	s.Open(t)
	equal(t, "in a new environment", s.OK(t, "run_code", Args{"code": "typeof count + fs.readFile('kept')"}), "undefinedx")
}

// testCodeDeclarations checks that the same names can be declared again, and that
// code which only looks like a declaration stays as it is.
func testCodeDeclarations(t *testing.T, s *Session) {
	t.Helper()
	for range 2 {
		for code, want := range map[string]string{
			"const x = 1; let y = 2\nclass Z { m() { return 3 } }\n[x + y, new Z().m()]":                      "[3,3]",
			"function f() { const x = 9; return x } f()":                                                      "9",
			"for (const i of [1, 2]) { let x = i }; typeof i":                                                 "undefined",
			"const s = 'const q = 1', r = /[/'`{]const/.test('{const'); s + r":                                "const q = 1true",
			"const t = `a${ `b${ {c: '}'}.c }` }const`\nt":                                                    "ab}const",
			"// const k = '\nconst o = {let: 1, const: 2, class: 3} /* let */\no.let + o.const / o.class * 3": "3",
			"const E = class Named extends Object { static n = 1 }; E.n + typeof Named":                       "1undefined",
			"class A extends Object { static { this.v = 4 } } A.v":                                            "4",
			"let ü = 1; ü": "1",
		} {
			equal(t, code, s.OK(t, "run_code", Args{"code": code}), want)
		}
	}
	for _, code := range []string{"const a = '", "let b = `${", "const c = /x", "class {", "}", "let d = 1 /*"} {
		if got := s.Exits(t, "run_code", Args{"code": code}, 1); !strings.Contains(got, "SyntaxError") {
			t.Errorf("%s: %q", code, got)
		}
	}
}

// testCodeRenewed checks that code is told when the variables are gone.
func testCodeRenewed(t *testing.T, s *Session) {
	t.Helper()
	s.OK(t, "run_code", Args{"code": "let n = 1; fs.writeFile('kept', 'x')"})
	s.Exits(t, "run_code", Args{"code": "for(;;);", "timeout_seconds": 1}, 1)
	equal(t, "after the time limit", s.OK(t, "run_code", Args{"code": "typeof n + fs.readFile('kept')"}), renewedJS+"undefinedx")
	equal(t, "it is told once", s.OK(t, "run_code", Args{"code": "1"}), "1")
	s.Spec.Languages = []string{"javascript", "python"}
	s.Open(t)
	equal(t, "in a later life", s.OK(t, "run_code", Args{"code": "1"}), renewedJS+"1")
	s.Fails(t, "run_code", Args{"code": "1", "language": "cobol"}, "language")
}

// testCodeClose checks that code ends with the environment.
func testCodeClose(t *testing.T, s *Session) {
	t.Helper()
	raw, err := json.Marshal(Args{"code": "console.log('started'); for(;;);", "timeout_seconds": 3600})
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	within(t, func() {
		_, err = s.Server.Call(t.Context(), tool.Call{Name: "run_code", Arguments: raw, Output: func(string) { go func() { closed <- s.Server.Close() }() }})
		if cerr := <-closed; cerr != nil {
			t.Error(cerr)
		}
	})
	var te *tool.Error
	if !errors.As(err, &te) || !te.Sent {
		t.Errorf("got %v", err)
	}
}

// testMany has many environments at work at once.
func testMany(t *testing.T, s *Session) {
	t.Helper()
	const many = 50
	base := t.TempDir()
	servers := make([]tool.Server, many)
	var wg sync.WaitGroup
	name, args, want := "run_code", `{"code":"let n = %d; fs.writeFile('f', String(n)); n"}`, strconv.Itoa
	if s.Has(t, "run_command") {
		name, args = "run_command", `{"command":"echo %d > f; cat f"}`
		want = func(i int) string { return fmt.Sprintf("%d\n", i) }
	}
	for i := range many {
		wg.Go(func() {
			srv, err := s.Driver.Open(t.Context(), environment.Spec{Project: "proj_1", Session: "sess_" + strconv.Itoa(i), Dir: filepath.Join(base, strconv.Itoa(i))})
			if err != nil {
				t.Error(err)
				return
			}
			servers[i] = srv
			res, err := srv.Call(t.Context(), tool.Call{Name: name, Arguments: json.RawMessage(fmt.Sprintf(args, i))})
			if err != nil || event.OutputText(res.Output) != want(i) {
				t.Errorf("%v %q %s", err, res.Error, res.Output)
			}
		})
	}
	wg.Wait()
	for _, srv := range servers {
		if srv == nil {
			continue
		}
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	}
}
