package environmenttest

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stayd/stayd/internal/event"
)

// bomb is what the bombs unpack to, in bytes.
const bomb = 1 << 30

// limitAttempts use more of the machine than they may.
func limitAttempts() []attempt {
	const g = "Limits"
	fills := func(name, command string, files map[string]func(t *testing.T) []byte) attempt {
		return attempt{group: g, name: name, tool: "run_command", limit: "disk", try: func(t *testing.T, e *escape) string {
			for file, content := range files {
				if err := os.WriteFile(e.Host(file), content(t), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			o := e.call(t, "run_command", Args{"command": command, "timeout_seconds": 60})
			// Between two looks at the disk, much can be written, but not all that the
			// bombs have.
			if used := usage(e.Spec.Dir); used > e.holds.Disk+bomb*3/4 {
				return fmt.Sprintf("%d MiB are used: %.300s", used>>20, o.text)
			}
			// It can be tidied up, and then goes on.
			e.run(t, "rm -rf /workspace/* /tmp/*")
			if o := e.run(t, "echo ok > f && cat f"); !strings.HasPrefix(o.text, "ok\n") {
				return "the environment is of no use any more: " + o.text
			}
			return ""
		}}
	}
	eats := func(name, limit, program string) attempt {
		return attempt{group: g, name: name, tool: "run_command", limit: limit, try: func(t *testing.T, e *escape) string {
			res, err := e.Try(t.Context(), t, "", "run_command", Args{"command": "python3 -", "stdin": pythonPrelude + program, "timeout_seconds": 60})
			// That the sandbox itself was ended by its limit is an answer, too.
			text := fmt.Sprint(err)
			if err == nil {
				text = event.OutputText(res.Output)
			}
			if o := e.run(t, "echo ok"); !strings.HasPrefix(o.text, "ok\n") {
				return "the environment is of no use any more: " + o.text
			}
			return said(outcome{text: text})
		}}
	}
	return []attempt{
		fills("GzipBomb", "gunzip -f bomb.gz", map[string]func(*testing.T) []byte{"bomb.gz": func(t *testing.T) []byte { return gzipZeros(t, bomb) }}),
		fills("ZipBomb", "python3 -c 'import zipfile; zipfile.ZipFile(\"bomb.zip\").extractall()'", map[string]func(*testing.T) []byte{"bomb.zip": zipBomb}),
		fills("TarBomb", "tar xzf bomb.tgz", map[string]func(*testing.T) []byte{"bomb.tgz": func(t *testing.T) []byte { return tarBomb(t, bomb) }}),
		fills("FillTheWorkspace", "cat /dev/zero > full & dd if=/dev/zero of=full2 bs=1M; wait", nil),
		fills("FillTmp", "cat /dev/zero > /tmp/full; dd if=/dev/zero of=/var/tmp/full2 bs=1M", nil),
		fills("FillInTheBackground", "(while :; do head -c 10000000 /dev/zero > f$$-$(date +%N); done) & sleep 60", nil),
		fills("PreallocatedFile", "fallocate -l 10G full; fallocate -l 200M full2; python3 -c 'import os; os.posix_fallocate(os.open(\"f3\", os.O_CREAT|os.O_RDWR), 0, 10<<30)'", nil),
		fills("SparseFile", "truncate -s 100G sparse; ls -ls sparse", nil),
		fills("ManySmallFiles", "python3 -c 'import os\nfor d in range(400):\n os.mkdir(f\"d{d}\")\n for i in range(100): open(f\"d{d}/{i}\", \"w\").write(\"x\" * 4000)'", nil),
		fills("DeepFolders", "python3 -c 'import os\nfor i in range(3000): os.mkdir(\"d\" * 20); os.chdir(\"d\" * 20)'", nil),
		eats("Memory", "memory", "kept = []\nfor i in range(4096): kept.append(bytearray(os.urandom(4096)) * 1024)\nthrough('16 GiB')\n"),
		eats("MemoryOfManyProcesses", "memory", "for i in range(8):\n if os.fork() == 0:\n  kept = [bytearray(os.urandom(4096)) * 1024 for j in range(400)]; time.sleep(1); os._exit(0)\nfor i in range(8):\n if os.wait()[1] != 0: raise SystemExit\nthrough('13 GiB')\n"),
		eats("MemoryInSharedMemory", "memory", "f = open('/dev/shm/full', 'wb')\nb = os.urandom(1 << 20)\ntry:\n for i in range(8192): f.write(b)\n through('8 GiB')\nexcept OSError: pass\n"),
		eats("MemoryInAFileOfMemory", "memory", "f = os.memfd_create('full')\nb = os.urandom(1 << 20)\ntry:\n for i in range(8192): os.write(f, b)\n through('8 GiB')\nexcept OSError: pass\n"),
		eats("MemoryInPipes", "memory", "import resource\nn = 0\ntry:\n while n < 20000:\n  r, w = os.pipe(); os.set_blocking(w, False)\n  try: fcntl.fcntl(w, 1031, 1 << 20)\n  except OSError: pass\n  os.write(w, b'x' * (1 << 20)); n += 1\n through('20000 pipes')\nexcept OSError: pass\n"),
		eats("ForkBomb", "processes", "n = 0\ntry:\n while n < 5000:\n  if os.fork() == 0: time.sleep(20); os._exit(0)\n  n += 1\n through('5000 processes')\nexcept OSError: pass\nos.kill(0, 9)\n"),
		{group: g, name: "ForkBombOfTheShell", tool: "run_command", limit: "processes", try: func(t *testing.T, e *escape) string {
			start := time.Now()
			e.Try(t.Context(), t, "", "run_command", Args{"command": "b() { b | b & }; b; sleep 2", "timeout_seconds": 5}) // it may be ended in any way
			if took := time.Since(start); took > 2*time.Minute {
				return fmt.Sprintf("it went on for %v", took)
			}
			if o := e.run(t, "echo ok"); !strings.HasPrefix(o.text, "ok\n") {
				return "the environment is of no use any more: " + o.text
			}
			return ""
		}},
		eats("Threads", "processes", "import threading\nthreading.stack_size(65536)\nn = 0\ntry:\n while n < 5000: threading.Thread(target=time.sleep, args=(20,), daemon=True).start(); n += 1\n through('5000 threads')\nexcept RuntimeError: pass\nos._exit(0)\n"),
		harmless(eats("OpenFiles", "", "n = 0\nimport resource\ntry: resource.setrlimit(resource.RLIMIT_NOFILE, (1 << 20, 1 << 20)); through('the limit was raised')\nexcept (OSError, ValueError): pass\ntry:\n while n < 100000: os.dup(0); n += 1\n through('100000 files')\nexcept OSError: pass\n")),
		{group: g, name: "BusyLoop", tool: "run_command", safe: true, try: func(t *testing.T, e *escape) string {
			start := time.Now()
			o := e.call(t, "run_command", Args{"command": "for i in 1 2 3 4; do (while :; do :; done) & done; while :; do :; done", "timeout_seconds": 1})
			if took := time.Since(start); took > time.Minute || o.code != 124 {
				return fmt.Sprintf("it ended with %d after %v", o.code, took)
			}
			return ""
		}},
		{group: g, name: "ManyAtOnce", tool: "run_command", limit: "memory", try: func(t *testing.T, e *escape) string {
			ended := make(chan struct{})
			for range 12 {
				go func() {
					defer func() { ended <- struct{}{} }()
					e.tryRaw(t, "run_command", Args{"command": "python3 -c 'import os; x = [os.urandom(1 << 20) for i in range(600)]; print(\"THROUGH\" if len(x) == 600 else 0)'", "timeout_seconds": 60})
				}()
			}
			for range 12 {
				<-ended
			}
			if o := e.run(t, "echo ok"); !strings.HasPrefix(o.text, "ok\n") {
				return "the environment is of no use any more: " + o.text
			}
			return ""
		}},
	}
}

// tryRaw performs a call of no account, from any goroutine.
func (e *escape) tryRaw(t *testing.T, name string, a Args) string {
	raw, err := json.Marshal(a)
	if err != nil {
		t.Error(err)
		return ""
	}
	res, err := e.Server.Call(t.Context(), callOf(name, raw))
	if err != nil {
		return err.Error()
	}
	return res.Error + string(res.Output)
}

// usage is what the folders of an environment take of the disk, in bytes.
func usage(dir string) int64 {
	var n int64
	filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error { // what is not there takes nothing
		if err == nil {
			if info, err := d.Info(); err == nil {
				n += info.Sys().(*syscall.Stat_t).Blocks * 512
			}
		}
		return nil
	})
	return n
}

// gzipZeros is a gzip file of n zeros, n a multiple of 16 MiB. Such files can be
// joined.
func gzipZeros(t *testing.T, n int) []byte {
	t.Helper()
	const piece = 16 << 20
	return bytes.Repeat(gzipped(t, make([]byte, piece)), n/piece)
}

func gzipped(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func tarBomb(t *testing.T, n int) []byte {
	t.Helper()
	var head bytes.Buffer
	if err := tar.NewWriter(&head).WriteHeader(&tar.Header{Name: "bomb", Mode: 0o600, Size: int64(n)}); err != nil {
		t.Fatal(err)
	}
	out := append(gzipped(t, head.Bytes()), gzipZeros(t, n)...)
	return append(out, gzipped(t, make([]byte, 1024))...)
}

// zipBomb has the same 64 MiB of zeros under 16 names.
func zipBomb(t *testing.T) []byte {
	t.Helper()
	zeros := make([]byte, 64<<20)
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(zeros); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for i := range 16 {
		f, err := z.CreateRaw(&zip.FileHeader{
			Name: fmt.Sprintf("bomb%d", i), Method: zip.Deflate, CRC32: crc32.ChecksumIEEE(zeros),
			CompressedSize64: uint64(packed.Len()), UncompressedSize64: uint64(len(zeros)),
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(packed.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// outputAttempts print what is to harm the one who reads it.
func outputAttempts() []attempt {
	const g = "Output"
	flood := func(name, command string) attempt {
		return attempt{group: g, name: name, tool: "run_command", safe: true, try: func(t *testing.T, e *escape) string {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			o := e.call(t, "run_command", Args{"command": command, "timeout_seconds": 60})
			runtime.ReadMemStats(&after)
			// HeapSys is the most there was.
			if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 64<<20 || len(o.text) > 1<<20 {
				return fmt.Sprintf("the runtime took %d MiB for it, and returned %d bytes", grown>>20, len(o.text))
			}
			return ""
		}}
	}
	return []attempt{
		flood("Flood", "head -c 1000000000 /dev/zero"),
		flood("FloodOfErrors", "head -c 300000000 /dev/zero | tr '\\0' '\\n' >&2"),
		flood("FloodOfTwo", "timeout 2 yes & timeout 2 yes >&2; wait"),
		{group: g, name: "NotUTF8", tool: "run_command", safe: true, try: func(t *testing.T, e *escape) string {
			res, err := e.Try(t.Context(), t, "", "run_command", Args{"command": `printf '\377\376\000\033[2J\033]0;title\007\r\n\302\205\355\240\200'; head -c 5000 /dev/urandom`})
			if err != nil {
				t.Fatal(err)
			}
			if !json.Valid(res.Output) || !utf8.Valid(res.Output) {
				return fmt.Sprintf("the result is broken: %.100q", res.Output)
			}
			return ""
		}},
		{group: g, name: "HalfACharacter", tool: "run_command", safe: true, try: func(t *testing.T, e *escape) string {
			o := e.run(t, `printf '\303'; sleep 0.2; printf '\251'; sleep 0.1; printf '\342\202'`)
			if !strings.HasPrefix(o.text, "é") || !utf8.ValidString(o.text) {
				return fmt.Sprintf("%q", o.text)
			}
			return ""
		}},
		{group: g, name: "NamesOfFiles", try: func(t *testing.T, e *escape) string {
			if err := os.MkdirAll(e.Host("a\n/workspace"), 0o700); err != nil {
				t.Fatal(err)
			}
			names := []string{"a\n/workspace/forged", "b\r\x1b[2J", "c\xff\xfe", "d\u202etxt.exe", strings.Repeat("n", 255), "-rf", " ", "$(touch made)", "e\x7f"}
			for _, name := range names {
				if err := os.WriteFile(e.Host(name), []byte("x"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			res, err := e.Try(t.Context(), t, "", "list_files", Args{"recursive": true})
			if err != nil || res.Failed {
				t.Fatal(err, res.Error)
			}
			text := event.OutputText(res.Output)
			switch {
			case !json.Valid(res.Output) || !utf8.ValidString(text):
				return fmt.Sprintf("the result is broken: %q", res.Output)
			case strings.Contains(text, "\n/workspace/forged\t"):
				return "a file that is not there is listed"
			case strings.ContainsAny(text, "\x1b\r"):
				return "a name commands the terminal"
			}
			return ""
		}},
		{group: g, name: "ContentsOfFiles", try: func(t *testing.T, e *escape) string {
			if err := os.WriteFile(e.Host("f"), []byte(strings.Repeat("x", 9000)+"\xff\xfe\x1b[2J\x00end"), 0o600); err != nil {
				t.Fatal(err)
			}
			res, err := e.Try(t.Context(), t, "", "read_file", Args{"path": "f"})
			if err != nil {
				t.Fatal(err)
			}
			if len(res.Output) > 0 && (!json.Valid(res.Output) || !utf8.Valid(res.Output)) {
				return fmt.Sprintf("the result is broken: %.100q", res.Output)
			}
			return ""
		}},
		{group: g, name: "HugeFile", try: func(t *testing.T, e *escape) string {
			if err := os.WriteFile(e.Host("huge"), []byte("text"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(e.Host("huge"), 50<<30); err != nil {
				t.Fatal(err)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			e.call(t, "read_file", Args{"path": "huge"})
			e.call(t, "edit_file", Args{"path": "huge", "old_text": "text", "new_text": "x"})
			e.call(t, "run_code", Args{"language": "javascript", "code": "fs.readFile('huge')"})
			runtime.ReadMemStats(&after)
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 256<<20 {
				return fmt.Sprintf("the runtime took %d MiB for it", grown>>20)
			}
			return ""
		}},
	}
}
