package environmenttest

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/tool"
)

func callOf(name string, raw []byte) tool.Call {
	return tool.Call{EffectID: "eff_" + name, Session: "sess_1", TurnID: "turn_1", Name: name, Arguments: raw}
}

// codeAttempts are made by JavaScript, which runs in the runtime's own process.
func codeAttempts() []attempt {
	const g = "Code"
	code := func(name, source string) attempt {
		return attempt{group: g, name: name, tool: "run_code", try: func(t *testing.T, e *escape) string {
			o := e.call(t, "run_code", Args{"language": "javascript", "code": e.out.fill(source), "timeout_seconds": 20})
			if through := e.told(o); through != "" {
				return through
			}
			return said(o)
		}}
	}
	return []attempt{
		code("Modules", "for (const f of [() => require('fs').readFileSync('@BASE/secret'), () => process.binding('fs'), () => std.loadFile('@BASE/secret'), () => os.open('@BASE/secret'), () => Deno.readTextFileSync('@BASE/secret'), () => Java.type('java.io.File')]) { try { console.log('THROUGH', f()) } catch {} }"),
		code("Import", "for (const m of ['fs', 'std', 'os', '@BASE/secret', 'file:///@BASE/secret', './given.txt']) { try { console.log('THROUGH', await import(m)) } catch {} }"),
		code("Constructors", "const f = [].constructor.constructor('return this')(); for (const n of Object.getOwnPropertyNames(f)) { if (/host|std|^os$|process|require|load|print|script/i.test(n) && n !== 'print' && typeof f[n] === 'function') try { const r = f[n]('@BASE/secret'); if (r !== undefined) console.log('THROUGH', n, r) } catch {} }"),
		code("HostFunctions", "for (const n of ['__host_read', '__host_list', '__host_emit', '__host_write']) { if (typeof globalThis[n] === 'function') console.log('THROUGH', n) }"),
		code("Prototypes", "String.prototype.startsWith = () => true; Array.prototype.join = () => '../../secret'; Object.prototype.toString = () => '../../secret'; JSON.stringify = () => '\"../../secret\"'; console.log(fs.readFile({toString: () => '../../secret'}))"),
		code("PathsThatChange", "let n = 0; const p = {toString() { return n++ ? '../../secret' : 'given.txt' }, [Symbol.toPrimitive]() { return n++ ? '../../secret' : 'given.txt' }}; for (let i = 0; i < 5; i++) { try { console.log(fs.readFile(p)) } catch {} }"),
		code("Remove", "for (const p of ['..', '../..', '/', '@BASE', '../../target', '.', '/workspace/..']) { try { fs.remove(p) } catch {} }"),
		{group: g, name: "Network", tool: "run_code", try: func(t *testing.T, e *escape) string {
			return said(e.call(t, "run_code", Args{"language": "javascript", "code": "for (const n of ['fetch', 'XMLHttpRequest', 'WebSocket', 'Worker', 'SharedArrayBuffer', 'setTimeout']) { if (n !== 'SharedArrayBuffer' && n !== 'setTimeout' && typeof globalThis[n] !== 'undefined') console.log('THROUGH', n) }"}))
		}},
		{group: g, name: "Memory", tool: "run_code", try: func(t *testing.T, e *escape) string {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for _, source := range []string{"const a = []; for (;;) a.push('x'.repeat(1e6) + a.length)", "new ArrayBuffer(8e9)", "'x'.repeat(2**29).split('')", "let s = 'x'; for (;;) s += s", "new Array(2**31).fill(0)", "console.log('x'.repeat(1e8))"} {
				e.call(t, "run_code", Args{"language": "javascript", "code": source, "timeout_seconds": 3600})
			}
			runtime.ReadMemStats(&after)
			if grown := int64(after.Sys) - int64(before.Sys); grown > 1<<30 {
				return fmt.Sprintf("the runtime took %d MiB for it", grown>>20)
			}
			return ""
		}},
		{group: g, name: "Time", tool: "run_code", try: func(t *testing.T, e *escape) string {
			start := time.Now()
			for _, source := range []string{"for(;;);", "for(;;){try{for(;;);}catch{}finally{for(;;);}}", "await new Promise(r => { (async () => { for(;;) await 1 })() })", "/(a+)+$/.test('a'.repeat(40) + 'b')"} {
				e.tryCall(t, "run_code", Args{"language": "javascript", "code": source, "timeout_seconds": 1})
			}
			if took := time.Since(start); took > time.Minute {
				return fmt.Sprintf("it went on for %v", took)
			}
			return ""
		}},
		{group: g, name: "PythonReadsASecret", tool: "run_command", safe: true, try: func(t *testing.T, e *escape) string {
			o := e.call(t, "run_code", Args{"language": "python", "code": e.out.fill("import glob\nfor p in ['@BASE/secret', '../../secret', '/proc/1/root@BASE/secret', '/proc/self/root@BASE/secret']:\n try: print(open(p).read())\n except OSError: pass\n")})
			return e.told(o)
		}},
		{group: g, name: "PythonLeavesAProcess", tool: "run_command", try: func(t *testing.T, e *escape) string {
			e.tryCall(t, "run_code", Args{"language": "python", "code": "import subprocess\nsubprocess.Popen(['setsid', 'sh', '-c', 'while :; do echo x >> /workspace/after; done'])\nimport time\ntime.sleep(100)", "timeout_seconds": 3})
			return e.grows(t, outcome{})
		}},
	}
}

// stock is what a process has.
type stock struct {
	goroutines int
	files      []string
	children   []string
	memory     uint64
}

func takeStock() stock {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	s := stock{goroutines: runtime.NumGoroutine(), memory: m.HeapAlloc}
	fds, _ := os.ReadDir("/proc/self/fd") // it is there
	for _, fd := range fds {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil {
			s.files = append(s.files, to)
		}
	}
	lists, _ := filepath.Glob("/proc/self/task/*/children") // well formed
	for _, name := range lists {
		b, _ := os.ReadFile(name) // a thread that has ended has none
		s.children = append(s.children, strings.Fields(string(b))...)
	}
	return s
}

// compare reports what is left, once what ends by itself has had its time.
func (s stock) compare(t *testing.T) {
	t.Helper()
	var now stock
	for range 200 {
		if now = takeStock(); now.goroutines <= s.goroutines+2 && len(now.files) <= len(s.files)+4 && len(now.children) <= len(s.children) {
			break
		}
		time.Sleep(20 * time.Millisecond) // other goroutines end
	}
	if now.goroutines > s.goroutines+2 {
		buf := make([]byte, 1<<20)
		t.Errorf("there were %d goroutines, and are %d:\n%s", s.goroutines, now.goroutines, buf[:runtime.Stack(buf, true)])
	}
	if len(now.files) > len(s.files)+4 {
		t.Errorf("there were %d open files, and are %d: %q", len(s.files), len(now.files), slices.Sorted(slices.Values(now.files)))
	}
	if len(now.children) > len(s.children) {
		t.Errorf("there were %d child processes, and are %d", len(s.children), len(now.children))
	}
	if now.memory > s.memory+64<<20 {
		t.Errorf("%d MiB of memory were in use, and %d are", s.memory>>20, now.memory>>20)
	}
}
