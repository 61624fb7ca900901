package environmenttest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// networkAttempts reach for the network from an environment that has none.
func networkAttempts() []attempt {
	const g = "Network"
	connect := func(name, network, address, host string) attempt {
		return attempt{group: g, name: name, tool: "run_command", safe: true, try: func(t *testing.T, e *escape) string {
			l, err := net.Listen(network, address)
			if err != nil {
				t.Skipf("this machine cannot listen there: %v", err)
			}
			defer l.Close() // nothing is kept
			var taken atomic.Int32
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					taken.Add(1)
					c.Write([]byte("THROUGH")) // the attempt reads it, or not
					c.Close()                  // the same
				}
			}()
			_, port, err := net.SplitHostPort(l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			o := e.python(t, fmt.Sprintf("for h in %s:\n try: print(socket.create_connection((h, %s), 2).recv(10).decode())\n except OSError as e: print(e)\n", host, port))
			if n := taken.Load(); n > 0 {
				return fmt.Sprintf("%d connections were taken", n)
			}
			return said(o)
		}}
	}
	return []attempt{
		connect("LoopbackOfTheMachine", "tcp4", "127.0.0.1:0", "('127.0.0.1', '0.0.0.0', 'localhost', '127.1.2.3')"),
		connect("LoopbackOfTheMachine6", "tcp6", "[::1]:0", "('::1', '::', 'localhost', '::ffff:127.0.0.1')"),
		connect("AnyAddressOfTheMachine", "tcp4", "0.0.0.0:0", fmt.Sprintf("(%s)", addresses())),
		says(g, "TheInternet", `
for a in (('1.1.1.1', 53), ('8.8.8.8', 443), ('169.254.169.254', 80), ('192.168.0.1', 80), ('10.0.0.1', 80), ('100.100.100.200', 80), ('2606:4700:4700::1111', 53), ('fd00:ec2::254', 80)):
    try: socket.create_connection(a, 0.3); through(a)
    except OSError: pass
`),
		says(g, "Names", `
servers = [l.split()[1] for l in open('/etc/resolv.conf') if l.startswith('nameserver')] if os.path.exists('/etc/resolv.conf') else []
for server in servers + ['127.0.0.53', '8.8.8.8', '1.1.1.1']:
    try:
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(0.3)
        s.sendto(b'\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01', (server, 53))
        if s.recv(512): through(server)
    except OSError: pass
try: through(socket.gethostbyname('example.com'))
except OSError: pass
`),
		{group: g, name: "UDP", tool: "run_command", safe: true, try: udp},
		{group: g, name: "AbstractSocket", tool: "run_command", safe: true, try: func(t *testing.T, e *escape) string {
			return unixSocket(t, e, "@"+e.out.token, "'\\0"+e.out.token+"'")
		}},
		{group: g, name: "SocketInTheFileSystem", tool: "run_command", safe: true, try: func(t *testing.T, e *escape) string {
			name := filepath.Join(e.out.base, "s")
			return unixSocket(t, e, name, fmt.Sprintf("'%s', '/proc/1/root%[1]s', '../../s'", name))
		}},
		{group: g, name: "SocketsOfServices", tool: "run_command", safe: true, try: func(t *testing.T, e *escape) string {
			return said(e.python(t, `
for name in ('/var/run/docker.sock', '/run/docker.sock', '/run/containerd/containerd.sock', '/run/dbus/system_bus_socket', '/run/systemd/private', '/run/snapd.socket', '/dev/log', '/run/nscd/socket', '/var/run/postgresql/.s.PGSQL.5432'):
    try: s = socket.socket(socket.AF_UNIX); s.connect(name); through(name)
    except OSError: pass
`))
		}},
		{group: g, name: "ListenWhereTheMachineConnects", tool: "run_command", safe: true, try: func(t *testing.T, e *escape) string {
			free, err := net.Listen("tcp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			address := free.Addr().String()
			free.Close() // its number is what is wanted
			_, port, _ := strings.Cut(address, ":")
			return e.during(t, "python3 -c 'import socket, time; s = socket.create_server((\"0.0.0.0\", "+port+")); print(\"ready\", flush=True); time.sleep(1)' & sleep 0.5; true"+wait, func(string) string {
				c, err := net.DialTimeout("tcp4", address, time.Second)
				if err != nil {
					return ""
				}
				c.Close() // nothing was sent
				return "the machine connected to a program"
			})
		}},
		harmless(says(g, "RawSockets", `
for f, t, p in ((socket.AF_INET, socket.SOCK_RAW, 1), (socket.AF_INET, socket.SOCK_RAW, 255), (socket.AF_PACKET, socket.SOCK_RAW, 0x300), (socket.AF_PACKET, socket.SOCK_DGRAM, 0x300), (socket.AF_INET6, socket.SOCK_RAW, 58)):
    try: socket.socket(f, t, p); through((f, t, p))
    except OSError: pass
`)),
		harmless(says(g, "VSock", `
try:
    s = socket.socket(40, socket.SOCK_STREAM); through('a socket')
except OSError: pass
`)),
		harmless(says(g, "StrangeFamilies", `
for f in (3, 4, 5, 6, 8, 9, 11, 12, 15, 19, 21, 23, 24, 26, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 41, 42, 43, 44):
    for t in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
        try: socket.socket(f, t); through((f, t))
        except OSError: pass
`)),
		{group: g, name: "ChangeTheMachinesDevices", tool: "run_command", try: func(t *testing.T, e *escape) string {
			before := devices(t)
			// RTM_NEWLINK of a dummy device, and the loopback device taken down.
			e.python(t, `
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
def attr(t, b): return struct.pack('HH', 4 + len(b), t) + b + b'\0' * (-len(b) % 4)
body = struct.pack('BxHiII', 0, 0, 0, 0, 0) + attr(3, b'escaped0\0') + attr(18, attr(1, b'dummy'))
s.send(struct.pack('IHHII', 16 + len(body), 16, 0x605, 1, 0) + body); print(s.recv(100))
body = struct.pack('BxHiII', 0, 0, 2, 0, 1) + attr(13, b'\1\2\3\4\5\6')
s.send(struct.pack('IHHII', 16 + len(body), 16, 5, 2, 0) + body); print(s.recv(100))
`)
			e.run(t, "ip link add escaped0 type dummy; ip addr add 10.98.97.96/32 dev lo")
			if after := devices(t); after != before {
				return fmt.Sprintf("the devices were %s, and are %s", before, after)
			}
			return ""
		}},
	}
}

// addresses are those of the machine that are not loopback, as Python source.
func addresses() string {
	list := []string{"'127.0.0.1'"}
	all, _ := net.InterfaceAddrs() // without any, there is only loopback
	for _, a := range all {
		if ip, ok := a.(*net.IPNet); ok && !ip.IP.IsLoopback() && ip.IP.To4() != nil {
			list = append(list, "'"+ip.IP.String()+"'")
		}
	}
	return strings.Join(list, ", ") + ","
}

func udp(t *testing.T, e *escape) string {
	c, err := net.ListenPacket("udp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() // nothing is kept
	_, port, err := net.SplitHostPort(c.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	e.python(t, fmt.Sprintf("for h in (%s '255.255.255.255', '224.0.0.1'):\n try: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', (h, %s))\n except OSError as e: print(e)\n", addresses(), port))
	// What was sent has arrived: the call is over, and nothing is in between.
	if err := c.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, from, err := c.ReadFrom(make([]byte, 10)); err == nil {
		return "a packet came from " + from.String()
	}
	return ""
}

func unixSocket(t *testing.T, e *escape, address, names string) string {
	l, err := net.Listen("unix", address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // nothing is kept
	taken := make(chan struct{}, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close() // that it came is enough
			taken <- struct{}{}
		}
	}()
	o := e.python(t, "for n in ("+names+",):\n try: socket.socket(socket.AF_UNIX).connect(n); through(n)\n except OSError as e: print(e)\n")
	select {
	case <-taken:
		return "a connection was taken"
	default:
		return said(o)
	}
}

func devices(t *testing.T) string {
	t.Helper()
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, i := range all {
		a, err := i.Addrs()
		list = append(list, fmt.Sprint(i.Name, i.Flags, a, err))
	}
	return strings.Join(list, ", ")
}

// privilegeAttempts try to become more than a user without rights.
func privilegeAttempts() []attempt {
	const g = "Privileges"
	return []attempt{
		{group: g, name: "Capabilities", tool: "run_command", safe: true, try: func(t *testing.T, e *escape) string {
			for line := range strings.Lines(e.run(t, "grep -E '^Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status").text) {
				if _, caps, _ := strings.Cut(strings.TrimSpace(line), "\t"); strings.Trim(caps, "0") != "" {
					return line
				}
			}
			return ""
		}},
		{group: g, name: "NewPrivileges", tool: "run_command", safe: true, try: func(t *testing.T, e *escape) string {
			if o := e.run(t, "grep NoNewPrivs /proc/self/status"); !strings.Contains(o.text, "1") {
				return o.text
			}
			return ""
		}},
		{group: g, name: "Root", tool: "run_command", safe: true, try: func(t *testing.T, e *escape) string {
			if o := e.run(t, "id -u; id -G"); strings.Contains(" "+strings.ReplaceAll(o.text, "\n", " ")+" ", " 0 ") {
				return "the user or a group is " + o.text
			}
			return ""
		}},
		harmless(says(g, "SetUser", `
for f in (os.setuid, os.seteuid, os.setgid, os.setegid):
    try: f(0); through(f.__name__)
    except OSError: pass
try: os.setgroups([0]); through('setgroups')
except OSError: pass
`)),
		{group: g, name: "SetuidPrograms", tool: "run_command", safe: true, try: func(t *testing.T, e *escape) string {
			o := e.run(t, "for p in 'su -c' 'sudo -n sh -c' 'pkexec sh -c' 'newgrp -' 'sg root -c' 'runuser -u root -- sh -c' 'doas sh -c'; do echo id -u | timeout 2 $p 'echo user $(id -u)'; done 2>/dev/null")
			if strings.Contains(o.text, "user 0") {
				return o.text
			}
			return ""
		}},
		{group: g, name: "ASetuidCopy", tool: "run_command", safe: true, try: func(t *testing.T, e *escape) string {
			o := e.run(t, "cp /bin/sh s; chmod 4755 s; ./s -p -c 'echo user $(id -u)'; cp /usr/bin/id i; chmod 6755 i; ./i")
			if strings.Contains(o.text, "user 0") || strings.Contains(o.text, "euid=0") {
				return o.text
			}
			return ""
		}},
		{group: g, name: "FileCapabilities", tool: "run_command", safe: true, try: func(t *testing.T, e *escape) string {
			o := e.python(t, "import shutil\nshutil.copy('/bin/sh', 's')\ntry: os.setxattr('s', 'security.capability', bytes.fromhex('0100000200200000000000000000000000000000'))\nexcept OSError as e: print(e)\n")
			raw := make([]byte, 100)
			if n, err := unix.Getxattr(e.Host("s"), "security.capability", raw); err == nil && n > 0 {
				return "a file has capabilities: " + o.text
			}
			return ""
		}},
		{group: g, name: "ADeviceForTheRuntime", tool: "run_command", safe: true, try: func(t *testing.T, e *escape) string {
			e.run(t, "mknod zero c 1 5; mknod mem c 1 1; mknod disk b 8 0; mknod kmsg c 1 11")
			for _, name := range []string{"zero", "mem", "disk", "kmsg"} {
				if info, err := os.Lstat(e.Host(name)); err == nil && info.Mode()&os.ModeDevice != 0 {
					return name + " is a device on the machine"
				}
			}
			return ""
		}},
	}
}
