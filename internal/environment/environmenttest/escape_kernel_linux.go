package environmenttest

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// kernelAttempts use system calls that reach into the kernel or make something
// that is not confined. A sandbox with a kernel of its own may grant some of them,
// so of these, what they do to the machine is what counts.
func kernelAttempts() []attempt {
	const g = "Kernel"
	// The numbers are those of x86-64.
	number := func(name, program string) attempt {
		a := says(g, name, program)
		try := a.try
		a.try = func(t *testing.T, e *escape) string {
			if runtime.GOARCH != "amd64" {
				t.Skip("the numbers of the system calls are those of x86-64")
			}
			return try(t, e)
		}
		return a
	}
	all := []attempt{
		namespaceAttempt("UnshareUser", "libc.unshare(0x10000000)"),
		namespaceAttempt("UnshareUserAndMounts", "libc.unshare(0x10020000)"),
		namespaceAttempt("UnshareAll", "libc.unshare(0x7e020000)"),
		namespaceAttempt("UnshareX32", "syscall(0x40000000 + 272, 0x10000000)"),
		namespaceAttempt("CloneUser", "pid = syscall(56, 0x10000000 | 17, 0, 0, 0, 0)"),
		namespaceAttempt("Clone3User", "args = (ctypes.c_uint64 * 11)(0x10000000, 0, 0, 0, 17)\npid = libc.syscall(435, args, 88)"),
		mountAttempt("MountTmpfs", "libc.mount(b'@TOKEN', b'/workspace/m', b'tmpfs', 0, 0)"),
		mountAttempt("MountProc", "libc.mount(b'@TOKEN', b'/workspace/m', b'proc', 0, 0)"),
		mountAttempt("MountBind", "os.makedirs('/workspace/@TOKEN')\nlibc.mount(b'/workspace/@TOKEN', b'/workspace/m', b'', 4096, 0)"),
		mountAttempt("MountDisk", "for d in (b'/dev/sda', b'/dev/sda1', b'/dev/vda', b'/dev/vda1', b'/dev/nvme0n1'): libc.mount(d, b'/workspace/m', b'ext4', 1, 0)"),
		mountAttempt("MountNewInterface", "f = syscall(430, b'tmpfs', 0)\nsyscall(431, f, 1, b'source', b'@TOKEN', 0); syscall(431, f, 6, 0, 0, 0)\nm = syscall(432, f, 0, 0); syscall(429, m, b'', -100, b'/workspace/m', 4)"),
		mountAttempt("MountInAUserNamespace", "libc.unshare(0x10020000)\nlibc.mount(b'@TOKEN', b'/workspace/m', b'tmpfs', 0, 0)"),
		number("RemountWritable", `
for d in (b'/usr', b'/', b'/etc', b'/proc', b'/proc/sys'):
    libc.mount(b'none', d, b'', 0x20, 0); libc.mount(b'none', d, b'', 0x1020, 0)
for p in ('/usr/@TOKEN', '/etc/@TOKEN', '/@TOKEN'):
    try: open(p, 'w'); through(p)
    except OSError: pass
`),
		number("Unmount", `
before = open('/proc/self/mounts').read()
for d in (b'/proc', b'/usr', b'/tmp', b'/dev', b'/workspace', b'/etc/hosts', b'/'):
    for flags in (0, 1, 2, 8):
        if libc.umount2(d, flags) == 0: through(d)
`),
		number("PivotRootAndChroot", `
os.makedirs('new/old', exist_ok=True)
if syscall(155, b'/workspace/new', b'/workspace/new/old') == 0: through('pivot_root')
if libc.chroot(b'/workspace/new') == 0: through('chroot')
`),
		reads(g, "EscapeAChroot", "unshare -r chroot . true; python3 -c \"import os\nos.mkdir('x'); os.chroot('x')\nfor i in range(20): os.chdir('..')\nos.chroot('.'); print(open('@BASE/secret').read())\""),
		number("HandlesOfFiles", `
class handle(ctypes.Structure): _fields_ = [('bytes', ctypes.c_uint), ('type', ctypes.c_int), ('data', ctypes.c_ubyte * 128)]
for d in (b'/', b'/usr', b'/workspace', b'/tmp', b'/proc'):
    f = os.open(d, os.O_RDONLY)
    for ino in (2, 128, 256, 1):
        h = handle(8, 1); h.data[0] = ino & 255; h.data[1] = ino >> 8
        r = libc.syscall(304, f, ctypes.byref(h), os.O_RDONLY)
        if r >= 0: through((d, ino, os.listdir(r)[:5]))
`),
		{group: g, name: "Keyring", tool: "run_command", try: func(t *testing.T, e *escape) string {
			e.python(t, "for ring in (-1, -2, -3, -4, -5):\n print(syscall(248, b'user', b'@TOKEN', b'x', 1, ring), syscall(250, 0, ring, 1))\n")
			if b, err := os.ReadFile("/proc/keys"); err == nil && strings.Contains(string(b), e.out.token[:20]) {
				return "a key was left with the machine's kernel"
			}
			return ""
		}},
		number("Modules", `
for f, args in ((175, (b'x' * 64, 64, b'')), (313, (os.open('/bin/sh', 0), b'', 0)), (176, (b'loop', 0))):
    r = syscall(f, *args); e = ctypes.get_errno()
    if r == 0 or e not in (errno.EPERM, errno.ENOSYS, errno.EACCES): through((f, r, errno.errorcode.get(e)))
`),
		harmless(number("BPF", `
attr = (ctypes.c_uint * 32)(1, 4, 4, 1)
if libc.syscall(321, 0, attr, 128) >= 0: through('a map')
`)),
		harmless(number("Perf", `
attr = (ctypes.c_ubyte * 128)(); struct.pack_into('IIQ', attr, 0, 1, 128, 0)
if libc.syscall(298, attr, 0, -1, -1, 0) >= 0 or libc.syscall(298, attr, -1, 0, -1, 0) >= 0: through('an event')
`)),
		harmless(number("IOUring", "p = (ctypes.c_ubyte * 120)()\nif libc.syscall(425, 4, p) >= 0: through('a ring')\n")),
		harmless(number("UserFaultFD", "if syscall(323, 0) >= 0 or syscall(323, 1) >= 0: through('a descriptor')\n")),
		number("Kexec", `
for r in (syscall(246, 0, 0, 0, 0), syscall(320, os.open('/bin/sh', 0), -1, 0, b'', 4)):
    e = ctypes.get_errno()
    if r == 0 or e not in (errno.EPERM, errno.ENOSYS): through(errno.errorcode.get(e))
`),
		number("Reboot", "if libc.syscall(169, 0xfee1dead, 672274793, 0, 0) == 0: through('Ctrl-Alt-Del was switched off')\n"), // LINUX_REBOOT_CMD_CAD_OFF
		number("SetTheClock", `
t = (ctypes.c_long * 2)(int(time.time()), 0)
if libc.syscall(227, 0, t) == 0 or libc.syscall(164, t, 0) == 0: through('the clock was set')
try: time.clock_settime(time.CLOCK_REALTIME, time.time()); through('clock_settime')
except OSError: pass
`),
		{group: g, name: "SetTheHostname", tool: "run_command", try: func(t *testing.T, e *escape) string {
			before, err := os.Hostname()
			if err != nil {
				t.Fatal(err)
			}
			e.run(t, "hostname stayd-escaped; python3 -c 'import socket; socket.sethostname(\"stayd-escaped\")'; unshare -ru hostname stayd-escaped")
			after, err := os.Hostname()
			if err != nil || after == before {
				return ""
			}
			unix.Sethostname([]byte(before)) // the failure of the test is loud enough
			return "the machine is named " + after
		}},
		number("Terminal", `
# TIOCSTI and TIOCLINUX, on each file that may be a terminal of the machine.
for name in ('/dev/tty', '/dev/console', '/dev/tty1', '/dev/pts/0', '/proc/self/fd/0', '/proc/self/fd/1'):
    try:
        f = os.open(name, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        fcntl.ioctl(f, 0x5412, b'x'); through(name)
    except OSError: pass
`),
		number("Syslog", `
b = ctypes.create_string_buffer(4096)
if libc.syscall(103, 3, b, 4096) > 0 and b'Linux version' in b.raw and b'gVisor' not in b.raw: through(b.raw[:60])
if libc.syscall(103, 5, 0, 0) == 0 and libc.syscall(103, 8, 0, 1) == 0: through('the log was cleared')
`),
		number("Ports", "if syscall(172, 3) == 0 or syscall(173, 0x80, 1, 1) == 0: through('ports of devices')\n"),
		harmless(number("SystemCallsOf32Bits", `
import mmap
# getpid of the 32-bit interface.
m = mmap.mmap(-1, 4096, prot=7); m.write(bytes.fromhex('b814000000cd80c3'))
pid = os.fork()
if pid == 0:
    r = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))()
    os._exit(1 if r == os.getpid() else 0)
if os.waitpid(pid, 0)[1] == 256: through('they are not filtered')
`)),
		number("Swap", "if libc.swapon(b'/workspace/given.txt', 0) == 0 or libc.swapoff(b'/dev/zram0') == 0: through()\n"),
		number("Quota", "if libc.syscall(179, 0x80000700, b'/dev/sda1', 0, 0) == 0 or libc.acct(b'/workspace/acct') == 0: through()\n"),
		number("Fanotify", `
f = syscall(300, 0, 0)
if f >= 0 and syscall(301, f, 1 | 0x10, 0x20, -100, b'/usr') == 0: through('it watches the files of the machine')
`),
		{group: g, name: "Devices", tool: "run_command", try: func(t *testing.T, e *escape) string {
			return said(e.python(t, `
import glob, stat
known = {(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2)}
for name in glob.glob('/dev/**', recursive=True):
    try:
        s = os.stat(name)
        if stat.S_ISBLK(s.st_mode): f = os.open(name, os.O_RDONLY | os.O_NONBLOCK); through(name)
        if stat.S_ISCHR(s.st_mode) and (os.major(s.st_rdev), os.minor(s.st_rdev)) not in known and os.major(s.st_rdev) != 136:
            f = os.open(name, os.O_RDWR | os.O_NONBLOCK)
            if not os.path.exists('/proc/gvisor'): through(name)
    except OSError: pass
for kind, major, minor in ((0o60000, 8, 0), (0o60000, 252, 0), (0o20000, 1, 1), (0o20000, 10, 229), (0o20000, 10, 200)):
    for d in ('/workspace', '/tmp', '/dev/shm'):
        try:
            os.mknod('%s/dev' % d, kind | 0o600, os.makedev(major, minor)); f = os.open('%s/dev' % d, os.O_RDONLY); through((d, major, minor))
        except OSError: pass
`))
		}},
	}
	return all
}

// namespaceAttempt makes a namespace by a statement that leaves the process, or
// its child pid, in it. A namespace of the machine's kernel is one that a process
// of the machine is in.
func namespaceAttempt(name, statement string) attempt {
	return attempt{group: "Kernel", name: name, tool: "run_command", safe: true, try: func(t *testing.T, e *escape) string {
		if runtime.GOARCH != "amd64" {
			t.Skip("the numbers of the system calls are those of x86-64")
		}
		program := pythonPrelude + "pid = None\nown = os.readlink('/proc/self/ns/user')\n" + statement + `
if pid == 0: pid = None
elif pid is not None and pid < 0: raise SystemExit
now = os.readlink('/proc/self/ns/user')
if now != own: print('namespace', now, flush=True)
print('ready', flush=True)
for i in range(200):
    if os.path.exists('go'): break
    time.sleep(0.05)
`
		if err := os.WriteFile(e.Host("n.py"), []byte(program), 0o600); err != nil {
			t.Fatal(err)
		}
		return e.during(t, "python3 n.py", func(printed string) string {
			ns := regexp.MustCompile(`user:\[\d+\]`).FindString(printed)
			if ns == "" {
				return ""
			}
			return ofTheMachine(ns)
		})
	}}
}

// mountAttempt mounts something on /workspace/m with the token in it.
func mountAttempt(name, statement string) attempt {
	return attempt{group: "Kernel", name: name, tool: "run_command", try: func(t *testing.T, e *escape) string {
		program := pythonPrelude + "os.makedirs('/workspace/m', exist_ok=True)\n" + e.out.fill(statement) + `
print('ready', flush=True)
for i in range(200):
    if os.path.exists('go'): break
    time.sleep(0.05)
`
		if err := os.WriteFile(e.Host("m.py"), []byte(program), 0o600); err != nil {
			t.Fatal(err)
		}
		return e.during(t, "python3 m.py", func(string) string {
			if m := mounted(e.out.token); m != "" {
				return m
			}
			return mounted("/workspace/m ")
		})
	}}
}

// ofTheMachine reports a process of this machine that is in the namespace.
func ofTheMachine(namespace string) string {
	links, _ := filepath.Glob("/proc/[0-9]*/ns/user") // well formed
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil && to == namespace {
			return "the machine's kernel has " + namespace + ", and " + l + " is in it"
		}
	}
	return ""
}
