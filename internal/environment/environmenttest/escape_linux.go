package environmenttest

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/shell"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/tool"
)

// Escape tries to get out of the driver's environments, in many ways, each a
// subtest that fails if it gets through. What counts is the effect: a secret in
// the output, a file outside, a connection that was taken, a process that got a
// signal. The limits are those that the driver keeps on this machine; an attempt
// that needs one which is 0 is not made.
//
// Attempts that need a tool which the driver does not have are left out.
func Escape(t *testing.T, d environment.Driver, holds shell.Limits) {
	t.Helper()
	if err := d.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := takeStock()
	// Its cleanups are done before the stock is taken again.
	t.Run("Attempts", func(t *testing.T) {
		o, s := newOutside(t), New(t, d)
		for _, a := range attempts() {
			if a.tool != "" && !s.Has(t, a.tool) {
				continue
			}
			t.Run(a.group+"/"+a.name, func(t *testing.T) {
				if a.harms(holds) {
					t.Skipf("without a limit of %s, this would harm the machine", a.limit)
				}
				if through := a.run(t, d, holds, o); through != "" {
					t.Errorf("got through: %s", through)
				}
			})
		}
	})
	s := New(t, d)
	if s.Has(t, "run_command") {
		equal(t, "after all attempts", s.OK(t, "run_command", Args{"command": "echo ok"}), "ok\n")
	}
	if err := s.Server.Close(); err != nil {
		t.Error(err)
	}
	before.compare(t)
}

// attempt is one way out.
type attempt struct {
	group, name string
	// tool is what the environment must offer for it.
	tool string
	// limit is the one without which it would harm the machine: "memory",
	// "processes" or "disk".
	limit string
	// safe says that it does no harm where there is no wall at all.
	safe bool
	// env is given to the environment.
	env func(o *outside) map[string]string
	// try says what got through; nothing if the wall held.
	try func(t *testing.T, e *escape) string
}

// harms reports an attempt that is not to be made where these limits are kept.
func (a *attempt) harms(holds shell.Limits) bool {
	switch a.limit {
	case "memory":
		return holds.Memory == 0
	case "processes":
		return holds.Processes == 0
	case "disk":
		return holds.Disk == 0
	}
	return false
}

func (a *attempt) run(t *testing.T, d environment.Driver, holds shell.Limits, o *outside) string {
	t.Helper()
	s := &Session{Driver: d, Spec: environment.Spec{
		Project: "proj_1", Session: "sess_1", Dir: filepath.Join(o.base, event.DeriveID("s", t.Name())),
		Env: map[string]string{"GREETING": "hello"},
	}}
	if a.env != nil {
		s.Spec.Env = a.env(o)
	}
	s.Fill(t)
	s.Open(t)
	e := &escape{Session: s, out: o, holds: holds}
	defer func() {
		if err := e.Server.Close(); err != nil {
			t.Errorf("close the environment: %v", err)
		}
	}()
	through := a.try(t, e)
	if touched := o.touched(); through == "" {
		through = touched
	}
	return through
}

// escape is the environment of one attempt.
type escape struct {
	*Session
	out   *outside
	holds shell.Limits
}

// outcome is what an agent sees of a call.
type outcome struct {
	text   string
	failed bool
	code   int // -1: none
}

// call performs a call, which must be answered.
func (e *escape) call(t *testing.T, name string, a Args) outcome {
	t.Helper()
	res, err := e.Try(t.Context(), t, "", name, a)
	if err != nil {
		t.Fatalf("%s was not answered: %v", name, err)
	}
	o := outcome{text: res.Error, failed: res.Failed, code: -1}
	if len(res.Output) > 0 {
		o.text += event.OutputText(res.Output)
	}
	if res.ExitCode != nil {
		o.code = *res.ExitCode
	}
	return o
}

// run runs a shell command.
func (e *escape) run(t *testing.T, command string) outcome {
	t.Helper()
	return e.call(t, "run_command", Args{"command": e.out.fill(command), "timeout_seconds": 30})
}

// python runs a program that has os, sys, ctypes, errno, socket, struct, libc and
// through() at hand.
func (e *escape) python(t *testing.T, program string) outcome {
	t.Helper()
	return e.call(t, "run_command", Args{"command": "python3 -", "stdin": pythonPrelude + e.out.fill(program), "timeout_seconds": 30})
}

const pythonPrelude = `
import ctypes, errno, fcntl, os, signal, socket, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def through(what=''):
    print('THROUGH', what, flush=True)
def syscall(n, *args):
    return libc.syscall(ctypes.c_long(n), *[ctypes.c_long(a) if isinstance(a, int) else a for a in args])
`

// during runs a command that prints "ready" when there is something to see, and
// then waits for the file /workspace/go. In between, look is called.
func (e *escape) during(t *testing.T, command string, look func(printed string) string) string {
	t.Helper()
	var through string
	var once sync.Once
	var printed strings.Builder
	raw, err := json.Marshal(Args{"command": e.out.fill(command), "timeout_seconds": 30})
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.Server.Call(t.Context(), tool.Call{EffectID: event.DeriveID("eff", t.Name()), Name: "run_command", Arguments: raw, Output: func(chunk string) {
		printed.WriteString(chunk)
		if strings.Contains(printed.String(), "ready") {
			once.Do(func() {
				through = look(printed.String())
				if err := os.WriteFile(e.Host("go"), nil, 0o600); err != nil {
					t.Error(err)
				}
			})
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	return through
}

// wait is the end of a command that is for during.
const wait = "; echo ready; for i in $(seq 200); do [ -e go ] && break; sleep 0.05; done"

// link makes links in the workspace, named by pairs of target and name: by a
// command, as an agent does, or where there are none, from outside.
func (e *escape) link(t *testing.T, pairs ...string) {
	t.Helper()
	commands := []string{"true"}
	for i := 0; i < len(pairs); i += 2 {
		commands = append(commands, fmt.Sprintf("ln -sfn %q %q", pairs[i], pairs[i+1]))
	}
	if e.Has(t, "run_command") {
		if o := e.run(t, strings.Join(commands, " && ")); o.code != 0 {
			t.Fatalf("the links could not be made: %s", o.text)
		}
		return
	}
	for i := 0; i < len(pairs); i += 2 {
		if err := os.Symlink(pairs[i], e.Host(pairs[i+1])); err != nil {
			t.Fatal(err)
		}
	}
}

// told reports an output that has a secret in it.
func (e *escape) told(o outcome) string {
	if strings.Contains(o.text, e.out.token) {
		return fmt.Sprintf("the output has a secret: %.300s", o.text)
	}
	return ""
}

// said reports an output in which the attempt says that it got through.
func said(o outcome) string {
	if i := strings.Index(o.text, "THROUGH"); i >= 0 {
		return fmt.Sprintf("%.200s", o.text[i:])
	}
	return ""
}

// reads is an attempt of a command to print a secret.
func reads(group, name, command string) attempt {
	return attempt{group: group, name: name, tool: "run_command", safe: true, try: func(t *testing.T, e *escape) string {
		return e.told(e.run(t, command))
	}}
}

// says is an attempt of a Python program, which says when it got through.
func says(group, name, program string) attempt {
	return attempt{group: group, name: name, tool: "run_command", try: func(t *testing.T, e *escape) string {
		return said(e.python(t, program))
	}}
}

// harmless marks an attempt as safe without a wall.
func harmless(a attempt) attempt {
	a.safe = true
	return a
}

// attempts are all there are.
func attempts() []attempt {
	var all []attempt
	for _, group := range [][]attempt{
		fileAttempts(), procAttempts(), linkAttempts(), pathAttempts(), processAttempts(), networkAttempts(),
		privilegeAttempts(), kernelAttempts(), limitAttempts(), leftoverAttempts(), variableAttempts(), outputAttempts(), codeAttempts(),
	} {
		all = append(all, group...)
	}
	return all
}

// outside is what attempts are to reach: files, processes and sockets of this
// machine.
type outside struct {
	base   string // the folder of the environments' folders, with what is beside them
	token  string // in every secret
	tests  *testing.T
	mu     sync.Mutex
	victim *exec.Cmd
	ask    io.Writer
	answer io.Reader
}

func newOutside(t *testing.T) *outside {
	t.Helper()
	o := &outside{base: t.TempDir(), token: rand.Text(), tests: t}
	for name, content := range map[string]string{
		"secret": o.token, "target/inside": o.token, "other/files/secret": o.token, "append": "",
		"script": "echo THROUGH " + o.token + "\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(o.base, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(o.base, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.endVictim()
	})
	return o
}

// fill puts what is outside into a command.
func (o *outside) fill(s string) string {
	r := []string{"@BASE", o.base, "@RUNTIME", strconv.Itoa(os.Getpid()), "@TOKEN", o.token}
	if strings.Contains(s, "@VICTIM") {
		r = append(r, "@VICTIM", strconv.Itoa(o.process(o.tests)))
	}
	return strings.NewReplacer(r...).Replace(s)
}

// process returns a process of this machine that does nothing, has a secret in
// its environment and its command line, and is to live.
func (o *outside) process(t *testing.T) int {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.victim != nil {
		return o.victim.Process.Pid
	}
	o.victim = exec.Command("/bin/sh", "-c", "while read -r line; do echo $line; done", o.token)
	o.victim.Env = []string{"SECRET=" + o.token}
	var err error
	if o.ask, err = o.victim.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if o.answer, err = o.victim.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := o.victim.Start(); err != nil {
		t.Fatal(err)
	}
	return o.victim.Process.Pid
}

// answers asks the process for a sign of life. The caller holds o.mu.
func (o *outside) answers() error {
	if _, err := io.WriteString(o.ask, "x\n"); err != nil {
		return err
	}
	// One that was stopped says nothing, which only time can tell.
	if err := o.answer.(*os.File).SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	_, err := io.ReadFull(o.answer, make([]byte, 2))
	return err
}

// endVictim ends the process. The caller holds o.mu.
func (o *outside) endVictim() {
	if o.victim != nil {
		o.victim.Process.Kill() // it fails where it has ended
		o.victim.Wait()         // it was killed
		o.victim = nil
	}
}

// touched reports what became of the outside, and sets it right for the next.
func (o *outside) touched() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.victim != nil {
		if err := o.answers(); err != nil {
			o.endVictim()
			return fmt.Sprintf("a process of the machine was stopped: %v", err)
		}
	}
	for name, want := range map[string]string{"secret": o.token, "target/inside": o.token, "append": ""} {
		full := filepath.Join(o.base, name)
		if b, err := os.ReadFile(full); err != nil || string(b) != want {
			os.MkdirAll(filepath.Dir(full), 0o700)  // the next attempt will see
			os.WriteFile(full, []byte(want), 0o600) // the same
			return fmt.Sprintf("%s is now %.100q, %v", name, b, err)
		}
	}
	var made []string
	for _, pattern := range []string{filepath.Join(o.base, "made*"), filepath.Join(o.base, "target", "made*"), "/*" + o.token + "*", "/*/*" + o.token + "*", "/*/*/*" + o.token + "*"} {
		found, _ := filepath.Glob(pattern) // well formed
		for _, m := range found {
			os.RemoveAll(m) // the next attempt will see
		}
		made = append(made, found...)
	}
	if made != nil {
		return fmt.Sprintf("there are new files %q", made)
	}
	return ""
}

// mounted reports a mount with the name that a process of this machine sees.
func mounted(name string) string {
	infos, _ := filepath.Glob("/proc/[0-9]*/mountinfo") // well formed
	for _, info := range infos {
		if b, err := os.ReadFile(info); err == nil && strings.Contains(string(b), name) {
			return info + " has " + name
		}
	}
	return ""
}
