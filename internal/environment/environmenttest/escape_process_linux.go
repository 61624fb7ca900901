package environmenttest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stayd/stayd/internal/tool"
)

// procAttempts use what /proc gives away, or lets be set.
func procAttempts() []attempt {
	const g = "Proc"
	return []attempt{
		reads(g, "SelfRoot", "cat /proc/self/root@BASE/secret /proc/thread-self/root@BASE/secret"),
		reads(g, "FirstRoot", "cat /proc/1/root@BASE/secret /proc/1/cwd/../../secret"),
		reads(g, "AnyRoot", "for p in /proc/[0-9]*; do cat $p/root@BASE/secret $p/cwd/secret; done 2>/dev/null"),
		reads(g, "EnvironmentOfOthers", "cat /proc/@VICTIM/environ; cat /proc/[0-9]*/environ | tr '\\0' '\\n'"),
		reads(g, "CommandLinesOfOthers", "cat /proc/@VICTIM/cmdline; cat /proc/[0-9]*/cmdline | grep -a -v grep | tr '\\0' ' ' | grep -a -o '[A-Z0-9]\\{26\\}'"),
		{group: g, name: "TheRuntimesEnvironment", tool: "run_command", safe: true, try: runtimeEnvironment},
		harmless(says(g, "InheritedFiles", `
for fd in range(3, 1024):
    try:
        d = os.open('secret', os.O_RDONLY, dir_fd=fd)
        through(os.readlink('/proc/self/fd/%d' % fd))
    except OSError: pass
    for up in ('../secret', '../../secret', '..@BASE/secret', '@BASE'.count('/') * '../' + '..' + '@BASE/secret'):
        try: through(os.read(os.open(up, os.O_RDONLY, dir_fd=fd), 10))
        except OSError: pass
    try:
        to = os.readlink('/proc/self/fd/%d' % fd)
        if to.startswith('@BASE') and not to.startswith('@BASE/s_'): through(to)
    except OSError: pass
`)),
		harmless(says(g, "FilesOfTheRuntime", `
for pid in ('@RUNTIME', '1', os.getppid()):
    try:
        for fd in os.listdir('/proc/%s/fd' % pid):
            try:
                f = os.open('/proc/%s/fd/%s' % (pid, fd), os.O_RDONLY | os.O_NONBLOCK)
                if str(pid) == '@RUNTIME': through(fd)
            except OSError: pass
    except OSError: pass
`)),
		{group: g, name: "Sysrq", tool: "run_command", try: sysrq},
		{group: g, name: "CorePattern", tool: "run_command", try: func(t *testing.T, e *escape) string {
			return setting(t, e, "/proc/sys/kernel/core_pattern", e.out.token)
		}},
		{group: g, name: "Hostname", tool: "run_command", try: func(t *testing.T, e *escape) string {
			return setting(t, e, "/proc/sys/kernel/hostname", "stayd-escaped")
		}},
		{group: g, name: "ModprobePath", tool: "run_command", try: func(t *testing.T, e *escape) string {
			return setting(t, e, "/proc/sys/kernel/modprobe", "/"+e.out.token)
		}},
		{group: g, name: "Overcommit", tool: "run_command", try: func(t *testing.T, e *escape) string {
			return setting(t, e, "/proc/sys/vm/overcommit_ratio", "51")
		}},
		{group: g, name: "SysFS", tool: "run_command", try: func(t *testing.T, e *escape) string {
			return setting(t, e, "/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs", "10001")
		}},
		{group: g, name: "CgroupOfTheMachine", tool: "run_command", try: func(t *testing.T, e *escape) string {
			e.run(t, "for d in /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir $d/@TOKEN; done")
			found, _ := filepath.Glob("/sys/fs/cgroup/*" + e.out.token + "*") // well formed
			more, _ := filepath.Glob("/sys/fs/cgroup/*/*" + e.out.token + "*")
			for _, d := range append(found, more...) {
				os.Remove(d) // a control group
				return d
			}
			return ""
		}},
		{group: g, name: "OOMScore", tool: "run_command", try: func(t *testing.T, e *escape) string {
			return e.during(t, "echo -987 > /proc/self/oom_score_adj; grep . /proc/self/oom_score_adj"+wait, func(string) string {
				scores, _ := filepath.Glob("/proc/[0-9]*/oom_score_adj") // well formed
				for _, name := range scores {
					if b, err := os.ReadFile(name); err == nil && strings.TrimSpace(string(b)) == "-987" {
						return name
					}
				}
				return ""
			})
		}},
		harmless(says(g, "Kcore", `
for name in ('/proc/kcore', '/dev/mem', '/dev/kmem', '/dev/port'):
    try:
        f = os.open(name, os.O_RDONLY); b = os.read(f, 64)
        if len(b): through(name)
    except OSError: pass
`)),
		{group: g, name: "KernelLog", tool: "run_command", safe: true, try: func(t *testing.T, e *escape) string {
			own, err := os.ReadFile("/proc/version")
			if err != nil {
				t.Fatal(err)
			}
			o := e.run(t, "timeout 2 head -c 200000 /dev/kmsg; timeout 2 head -c 200000 /proc/kmsg; timeout 2 dmesg")
			if strings.Contains(o.text, string(own[:min(len(own), 40)])) || strings.Contains(o.text, ";") && strings.Contains(o.text, "Command line:") {
				return "the log of the machine's kernel is read"
			}
			return ""
		}},
		harmless(says(g, "KernelAddresses", `
try:
    for line in open('/proc/kallsyms'):
        if not line.startswith('0000000000000000'):
            through(line); break
except OSError: pass
`)),
		{group: g, name: "Keys", tool: "run_command", safe: true, try: func(t *testing.T, e *escape) string {
			id, err := unix.AddKey("user", e.out.token, []byte("x"), unix.KEY_SPEC_USER_KEYRING)
			if err != nil {
				t.Skipf("the machine has no keyring: %v", err)
			}
			defer unix.KeyctlInt(unix.KEYCTL_INVALIDATE, id, 0, 0, 0) // the key is the test's own
			return e.told(e.run(t, "cat /proc/keys"))
		}},
	}
}

// runtimeEnvironment looks for what is in the runtime's environment and nowhere
// else.
func runtimeEnvironment(t *testing.T, e *escape) string {
	b, err := os.ReadFile("/proc/self/environ")
	if err != nil {
		t.Fatal(err)
	}
	o := e.run(t, "cat /proc/@RUNTIME/environ /proc/1/environ /proc/$PPID/environ /proc/self/environ | tr '\\0' '\\n'; env")
	for v := range bytes.SplitSeq(b, []byte{0}) {
		name, value, _ := strings.Cut(string(v), "=")
		if name != "PATH" && len(value) > 12 && strings.Contains(o.text, string(v)) {
			return "the variable " + name + " of the runtime is read"
		}
	}
	return ""
}

// setting tries to change a setting of the machine's kernel, and sets it back.
func setting(t *testing.T, e *escape, name, value string) string {
	before, err := os.ReadFile(name)
	if err != nil {
		t.Skipf("this machine does not have it: %v", err)
	}
	e.run(t, fmt.Sprintf("echo %s > %s; python3 -c \"open('%[2]s','r+').write('%[1]s')\"", value, name))
	after, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(before, after) {
		return ""
	}
	os.WriteFile(name, before, 0o600) // the failure of the test is loud enough
	return fmt.Sprintf("%s is %q", name, after)
}

// sysrq asks the kernel to print its help, which it does into its log.
func sysrq(t *testing.T, e *escape) string {
	log, err := os.OpenFile("/dev/kmsg", os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skipf("what the kernel does cannot be seen: %v", err)
	}
	defer log.Close() // it was only read
	if _, err := log.Seek(0, 2); err != nil {
		t.Fatal(err)
	}
	e.run(t, "echo h > /proc/sysrq-trigger; echo h > /proc/self/root/proc/sysrq-trigger")
	line := make([]byte, 8192)
	for {
		n, err := unix.Read(int(log.Fd()), line)
		if err != nil || n <= 0 {
			return ""
		}
		if strings.Contains(string(line[:n]), "sysrq:") {
			return string(line[:n])
		}
	}
}

// processAttempts reach for other processes of the machine.
func processAttempts() []attempt {
	const g = "Processes"
	on := func(name, program string, look func(pid int) string) attempt {
		return attempt{group: g, name: name, tool: "run_command", safe: true, try: func(t *testing.T, e *escape) string {
			pid := e.out.process(t)
			before := look(pid)
			o := e.python(t, "pid = @VICTIM\n"+program)
			if after := look(pid); after != before && after != "" {
				return fmt.Sprintf("it was %q, and is %q", before, after)
			}
			return said(o)
		}}
	}
	nothing := func(int) string { return "" }
	return []attempt{
		on("Kill", "for s in (signal.SIGTERM, signal.SIGKILL):\n try: os.kill(pid, s)\n except OSError: pass", nothing),
		on("KillTheGroup", "for s in (signal.SIGTERM, signal.SIGKILL):\n try: os.killpg(pid, s); os.killpg(os.getpgid(pid), s)\n except OSError: pass", nothing),
		on("KillByPidfd", "try:\n f = os.pidfd_open(pid); signal.pidfd_send_signal(f, signal.SIGKILL); \nexcept OSError: pass", nothing),
		on("KillThread", "syscall(200, pid, 9); group = pid; syscall(234, group, pid, 9)", nothing), // tgkill, tkill
		on("Stop", "try: os.kill(pid, signal.SIGSTOP)\nexcept OSError: pass", nothing),
		{group: g, name: "KillAll", tool: "run_command", try: func(t *testing.T, e *escape) string {
			e.out.process(t)
			if o := e.told(e.run(t, "cat /proc/[0-9]*/cmdline")); o != "" {
				return "the processes of the machine are seen, and it would kill them: " + o
			}
			e.run(t, "kill -9 -1; kill -9 0")
			return ""
		}},
		{group: g, name: "SignalToTheRuntime", tool: "run_command", safe: true, try: func(t *testing.T, e *escape) string {
			got := make(chan os.Signal, 1)
			signal.Notify(got, syscall.SIGWINCH)
			defer signal.Stop(got)
			e.run(t, "kill -WINCH @RUNTIME; kill -WINCH $PPID; for i in $(seq 1 20); do kill -WINCH $i; done")
			select {
			case <-got:
				return "the runtime got a signal"
			default:
				return ""
			}
		}},
		{group: g, name: "KillTheParent", tool: "run_command", try: func(t *testing.T, e *escape) string {
			e.run(t, "kill -9 $PPID; kill -9 1; sleep 0.1")
			return ""
		}},
		on("Trace", "if syscall(101, 16, pid, 0, 0) == 0 or syscall(101, 0x4206, pid, 0, 0) == 0: through('traced')", nothing), // PTRACE_ATTACH, PTRACE_SEIZE
		on("ReadMemory", `
try:
    line = open('/proc/%d/maps' % pid).readline()
    at = int(line.split('-')[0], 16)
    b = ctypes.create_string_buffer(16)
    class iov(ctypes.Structure): _fields_ = [('base', ctypes.c_void_p), ('len', ctypes.c_size_t)]
    l, r = iov(ctypes.addressof(b), 16), iov(at, 16)
    if libc.syscall(310, pid, ctypes.byref(l), 1, ctypes.byref(r), 1, 0) > 0: through('process_vm_readv')
    f = open('/proc/%d/mem' % pid, 'rb'); f.seek(at); f.read(4); through('mem')
except OSError: pass
`, nothing),
		on("TakeItsFiles", "f = syscall(434, pid, 0)\nif f >= 0 and syscall(438, f, 0, 0) >= 0: through('pidfd_getfd')", nothing),
		on("Limit", "import resource\ntry: resource.prlimit(pid, resource.RLIMIT_NOFILE, (13, 13))\nexcept (OSError, ValueError): pass", func(pid int) string {
			var l unix.Rlimit
			if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &l); err != nil {
				return ""
			}
			return fmt.Sprint(l)
		}),
		on("Renice", "try: os.setpriority(os.PRIO_PROCESS, pid, 19)\nexcept OSError: pass", func(pid int) string {
			n, err := unix.Getpriority(unix.PRIO_PROCESS, pid)
			return fmt.Sprint(n, err)
		}),
		on("Compare", "if syscall(312, pid, os.getpid(), 0, 0, 0) >= 0: through('kcmp')", nothing),
		on("JoinItsNamespaces", `
for ns in ('mnt', 'net', 'pid', 'uts', 'ipc', 'user', 'cgroup'):
    for p in (pid, 1):
        try:
            f = os.open('/proc/%s/ns/%s' % (p, ns), os.O_RDONLY)
            own = os.readlink('/proc/self/ns/' + ns)
            if os.readlink('/proc/%s/ns/%s' % (p, ns)) != own and libc.setns(f, 0) == 0: through(ns)
        except OSError: pass
`, nothing),
	}
}

// leftoverAttempts go on after the call has returned.
func leftoverAttempts() []attempt {
	const g = "Leftovers"
	const loop = "while :; do echo x >> /workspace/after; done"
	after := func(name, command string) attempt {
		return attempt{group: g, name: name, tool: "run_command", try: func(t *testing.T, e *escape) string {
			o := e.call(t, "run_command", Args{"command": command, "timeout_seconds": 1})
			return e.grows(t, o)
		}}
	}
	return []attempt{
		after("InTheBackground", "("+loop+") & sleep 100"),
		after("AfterTheEnd", "("+loop+") & true"),
		after("NewSession", "setsid sh -c '"+loop+"' & sleep 100"),
		after("NoHangUp", "nohup sh -c '"+loop+"' >/dev/null 2>&1 & sleep 100"),
		after("ForkedTwice", "(setsid sh -c '("+loop+") &' &) ; sleep 100"),
		after("IgnoresSignals", "trap '' TERM INT HUP QUIT USR1; "+loop),
		after("ClosesItsFiles", "setsid sh -c '"+loop+"' </dev/null >/dev/null 2>&1 3>&- & sleep 100"),
		after("Daemon", "python3 - <<'E'\nimport os, signal\nif os.fork() == 0:\n os.setsid(); os.chdir('/')\n for s in range(1, 64):\n  try: signal.signal(s, signal.SIG_IGN)\n  except (OSError, ValueError): pass\n if os.fork() == 0:\n  for fd in range(100):\n   try: os.close(fd)\n   except OSError: pass\n  while True: open('/workspace/after', 'a').write('x')\nE\nsleep 100"),
		{group: g, name: "WritesAfterClose", tool: "run_command", try: func(t *testing.T, e *escape) string {
			raw, err := json.Marshal(Args{"command": "setsid sh -c '" + loop + "' & (trap '' TERM; " + loop + ") & echo ready; sleep 100"})
			if err != nil {
				t.Fatal(err)
			}
			ready, ended := make(chan struct{}), make(chan struct{})
			var once sync.Once
			go func() {
				defer close(ended)
				e.Server.Call(t.Context(), tool.Call{EffectID: "eff_1", Name: "run_command", Arguments: raw, Output: func(string) { once.Do(func() { close(ready) }) }}) // it is broken off
			}()
			<-ready
			if err := e.Server.Close(); err != nil {
				t.Error(err)
			}
			size := e.size()
			<-ended
			again := *e
			again.Session = &Session{Driver: e.Driver, Spec: e.Spec}
			again.Open(t)
			defer again.Server.Close() // the first one counts
			return again.grows(t, outcome{}) + changed(size, e.size())
		}},
		{group: g, name: "AProcessThatWasStopped", tool: "stop_process", try: func(t *testing.T, e *escape) string {
			o := e.call(t, "run_command", Args{"command": "setsid sh -c '" + loop + "' & " + loop, "background": true})
			_, id, _ := strings.Cut(o.text, "process_id: ")
			id = strings.TrimSuffix(strings.TrimSpace(id), "]")
			stopped := e.call(t, "stop_process", Args{"process_id": id})
			if stopped.failed {
				t.Fatal(stopped.text)
			}
			return e.grows(t, stopped)
		}},
	}
}

func (e *escape) size() int64 {
	info, err := os.Stat(e.Host("after"))
	if err != nil {
		return -1
	}
	return info.Size()
}

func changed(before, after int64) string {
	if before != after {
		return fmt.Sprintf("the file went on from %d to %d bytes", before, after)
	}
	return ""
}

// grows reports a file that is still written, over the time of another call.
func (e *escape) grows(t *testing.T, _ outcome) string {
	before := e.size()
	e.run(t, "sleep 0.4")
	return changed(before, e.size())
}

// variableAttempts use the variables of the environment, which are the agent's.
func variableAttempts() []attempt {
	const g = "Variables"
	return []attempt{
		// The dynamic linker of a program on the machine would write files.
		{
			group: g, name: "OfTheLinker", tool: "run_command", safe: true,
			env: func(o *outside) map[string]string {
				return map[string]string{"LD_DEBUG": "files", "LD_DEBUG_OUTPUT": o.base + "/made-ld", "LD_PRELOAD": "/workspace/evil.so", "LD_LIBRARY_PATH": "/workspace", "LD_AUDIT": "/workspace/evil.so"}
			},
			try: func(t *testing.T, e *escape) string { e.run(t, "true"); return "" },
		},
		{
			group: g, name: "OfTheShell", tool: "run_command", safe: true,
			env: func(o *outside) map[string]string {
				return map[string]string{"BASH_ENV": o.base + "/script", "ENV": o.base + "/script", "PROMPT_COMMAND": "echo THROUGH", "SHELLOPTS": "xtrace", "PS4": "$(cat " + o.base + "/secret)"}
			},
			try: func(t *testing.T, e *escape) string { return e.told(e.run(t, "true; bash -c true")) },
		},
		{
			group: g, name: "OfTheRuntimesTools", tool: "run_command",
			env: func(o *outside) map[string]string {
				return map[string]string{"GODEBUG": "inittrace=1", "TMPDIR": o.base, "PATH": "/workspace:/usr/bin:/bin", "XDG_RUNTIME_DIR": o.base, "HOME": o.base}
			},
			try: func(t *testing.T, e *escape) string {
				for _, name := range []string{"bwrap", "runsc", "unshare", "nsenter", "sh"} {
					if err := os.WriteFile(e.Host(name), []byte("#!/bin/sh\n: > "+e.out.base+"/made\n"), 0o700); err != nil { // it is to be run by mistake
						t.Fatal(err)
					}
				}
				if o := e.run(t, "/bin/true"); strings.Contains(o.text, "init ") {
					return o.text
				}
				return ""
			},
		},
		{
			group: g, name: "SeenByAll", tool: "run_command",
			env: func(o *outside) map[string]string { return map[string]string{"A_SECRET": "secret-" + o.token} },
			try: func(t *testing.T, e *escape) string {
				return e.during(t, "true"+wait, func(string) string {
					lines, _ := filepath.Glob("/proc/[0-9]*/cmdline") // well formed
					for _, name := range lines {
						if b, err := os.ReadFile(name); err == nil && bytes.Contains(b, []byte("secret-"+e.out.token)) {
							return "any user of the machine can read it in " + name
						}
					}
					return ""
				})
			},
		},
	}
}
