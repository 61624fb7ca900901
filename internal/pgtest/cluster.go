package pgtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// binaries is where Debian keeps the servers, a folder for each version.
const binaries = "/usr/lib/postgresql/*/bin"

// startTimeout bounds how long a server may take to answer, recovery after a
// crash included.
const startTimeout = time.Minute

// watch waits for its input to end, which it does when the test binary is gone
// by whatever cause, then ends the server and removes the cluster.
const watch = `read _
if [ -e "$0/data/postmaster.pid" ]; then
	kill -QUIT "$(head -n 1 "$0/data/postmaster.pid")"
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		[ -e "$0/data/postmaster.pid" ] || break
		sleep 0.2
	done
fi
rm -rf "$0"`

// Cluster is a PostgreSQL server with its own data, on a unix socket that only
// this machine's processes reach. Its settings are the server's defaults, fsync
// included.
type Cluster struct {
	dir    string // holds data, the socket and the log
	bin    string
	owner  *owner        // nil: this process's user
	server *exec.Cmd     // nil while stopped
	exited chan struct{} // closed when server has ended
	guard  io.Closer     // its end tells the watcher to clean up
	gone   func() error  // waits for the watcher
}

// NewCluster starts a cluster that is removed when the test ends. Where no
// server can be had it does as Start does.
func NewCluster(tb testing.TB) *Cluster {
	tb.Helper()
	requireServer(tb)
	c, err := newCluster()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := errors.Join(c.guard.Close(), c.gone()); err != nil {
			tb.Errorf("remove the test cluster: %v", err)
		}
	})
	return c
}

// Dir is the folder that holds all that the cluster writes.
func (c *Cluster) Dir() string { return c.dir }

// URL is the address of the cluster's maintenance database.
func (c *Cluster) URL() string {
	return "postgres:///postgres?host=" + c.dir + "&user=postgres&sslmode=disable"
}

// Database returns the URL of a new, empty database. It goes with the cluster.
func (c *Cluster) Database(tb testing.TB, name string) string {
	tb.Helper()
	if err := execute(c.URL(), `CREATE DATABASE "`+name+`"`); err != nil {
		tb.Fatal(err)
	}
	return "postgres:///" + name + "?host=" + c.dir + "&user=postgres&sslmode=disable"
}

// Stop ends the server in order: its clients are cut off, what is committed is
// written out. It returns when the server has ended.
func (c *Cluster) Stop(tb testing.TB) {
	tb.Helper()
	c.end(tb, syscall.SIGINT)
}

// Crash ends the server at once, without a word to its clients or a write to
// its files; the next start recovers from the write-ahead log.
func (c *Cluster) Crash(tb testing.TB) {
	tb.Helper()
	c.end(tb, syscall.SIGQUIT)
}

func (c *Cluster) end(tb testing.TB, sig syscall.Signal) {
	tb.Helper()
	if c.server == nil {
		tb.Fatal("the test cluster is not running")
	}
	if err := c.server.Process.Signal(sig); err != nil {
		tb.Fatalf("stop the test cluster: %v", err)
	}
	<-c.exited
	c.server = nil
}

// Start starts the server after Stop or Crash. It returns when it answers.
func (c *Cluster) Start(tb testing.TB) {
	tb.Helper()
	if err := c.start(); err != nil {
		tb.Fatal(err)
	}
}

func newCluster() (*Cluster, error) {
	owner, err := serverOwner()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "stayd-pg-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the test cluster: %w", err)
	}
	c := &Cluster{dir: dir, bin: binDir(), owner: owner}
	if err := c.init(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := c.start(); err != nil {
		return nil, errors.Join(err, c.guard.Close(), c.gone())
	}
	return c, nil
}

func (c *Cluster) init() error {
	if c.owner != nil {
		if err := os.Chown(c.dir, int(c.owner.uid), int(c.owner.gid)); err != nil {
			return fmt.Errorf("give the test cluster to its user: %w", err)
		}
	}
	initdb := c.command(filepath.Join(c.bin, "initdb"), "-D", c.dir+"/data", "-U", "postgres",
		"-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions")
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("make the test cluster: %w\n%s", err, out)
	}
	watcher := c.command("/bin/sh", "-c", watch, c.dir)
	guard, err := watcher.StdinPipe()
	if err != nil {
		return fmt.Errorf("guard the test cluster: %w", err)
	}
	if err := watcher.Start(); err != nil {
		return fmt.Errorf("guard the test cluster: %w", err)
	}
	c.guard, c.gone = guard, watcher.Wait
	return nil
}

func (c *Cluster) start() error {
	if c.server != nil {
		return errors.New("the test cluster is running")
	}
	log, err := os.OpenFile(c.dir+"/log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start the test cluster: %w", err)
	}
	defer log.Close()
	cmd := c.command(filepath.Join(c.bin, "postgres"), "-D", c.dir+"/data", "-k", c.dir,
		"-c", "listen_addresses=", "-c", "max_connections=200")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the test cluster: %w", err)
	}
	c.server, c.exited = cmd, make(chan struct{})
	go func(done chan struct{}) {
		defer close(done)
		_ = cmd.Wait() // a server that was stopped ends as it was told to
	}(c.exited)
	return c.answers()
}

// answers waits until the server takes connections.
func (c *Cluster) answers() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		conn, err := pgx.Connect(ctx, c.URL())
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-poll.C:
		case <-c.exited:
			c.server = nil
			return fmt.Errorf("the test cluster ended while it was started:\n%s", c.log())
		case <-ctx.Done():
			return fmt.Errorf("the test cluster does not answer: %w\n%s", err, c.log())
		}
	}
}

func (c *Cluster) log() string {
	b, err := os.ReadFile(c.dir + "/log")
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// command runs in a process group of its own, so that an interrupt from the
// terminal ends the tests first and the cluster by its watcher.
func (c *Cluster) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = c.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = attributes(c.owner)
	return cmd
}

// owner is a user.
type owner struct{ uid, gid uint32 }

// serverOwner is the user that the server runs as: it refuses to be root.
func serverOwner() (*owner, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("the server refuses to run as root: %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("the id of user postgres: %w", err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("the group of user postgres: %w", err)
	}
	return &owner{uint32(uid), uint32(gid)}, nil
}

// binDir is the folder of the newest server that is installed, or empty.
func binDir() string {
	dirs, err := filepath.Glob(binaries + "/postgres")
	if err != nil {
		return ""
	}
	best, newest := "", 0
	for _, d := range dirs {
		dir := filepath.Dir(d)
		if v, err := strconv.Atoi(filepath.Base(filepath.Dir(dir))); err == nil && v > newest {
			best, newest = dir, v
		}
	}
	return best
}
