package app_test

import (
	"errors"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stayd/stayd/internal/pgtest"
)

// TestStoreHangs has the database take what is sent to it and answer nothing for
// a while, as a host that is overloaded or cut off does. The runtime says that
// it is not ready, and a message whose acknowledgement did not come is there once.
func TestStoreHangs(t *testing.T) {
	cluster := pgtest.NewCluster(t)
	between := newValve(t, cluster.Database(t, "hangs"))
	cfg := config(t)
	cfg.Store = "postgres:///hangs?host=" + between.dir + "&user=postgres&sslmode=disable"
	n := start(t, cfg)
	id := n.create("many steps", timerAndAsk)

	between.shut()
	sent := make(chan answer, 1)
	send := func() (answer, error) {
		return n.try(t.Context(), "POST", sessions+"/"+id+"/events", message("more"), "Idempotency-Key", "more")
	}
	go func() {
		a, err := send()
		if err != nil {
			t.Errorf("a message: %v", err)
		}
		sent <- a
	}()
	a := n.do("GET", "/readyz", "")
	if a.status != 503 || a.header.Get("Retry-After") != "1" || !strings.Contains(a.body, `"Not ready: ping postgres: the store does not answer`) {
		t.Errorf("readyz with a store that hangs: %s", a)
	}
	if a := n.do("GET", "/healthz", ""); a.status != 200 {
		t.Errorf("healthz with a store that hangs: %s", a)
	}
	between.open()

	if a := <-sent; a.status != 202 && a.status != 503 {
		t.Errorf("the message: %s", a)
	}
	wait(t, "the message to be acknowledged", func() bool {
		a, err := send()
		return err == nil && a.status == 202
	})
	wait(t, "readiness", func() bool { return n.do("GET", "/readyz", "").status == 200 })
	n.until(id, "idle")
	turns := n.turns(id)
	if len(turns) != 2 || turns[0].Status != "completed" || turns[1].Status != "completed" {
		t.Errorf("turns %+v, want two that are completed", turns)
	}
	n.verify(id)
}

// valve carries connections to a server's socket, and holds back what they carry
// while it is shut.
type valve struct {
	dir string // of its own socket

	mu    sync.Mutex
	way   chan struct{} // closed while it is open
	conns []net.Conn
}

const socketName = ".s.PGSQL.5432"

func newValve(t *testing.T, target string) *valve {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	v := &valve{dir: t.TempDir(), way: make(chan struct{})}
	close(v.way)
	l, err := net.Listen("unix", filepath.Join(v.dir, socketName))
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			in, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				t.Errorf("accept: %v", err)
				return
			}
			out, err := net.Dial("unix", filepath.Join(u.Query().Get("host"), socketName))
			if err != nil {
				in.Close()
				continue
			}
			v.keep(in, out)
			running.Go(func() { v.carry(out, in) })
			running.Go(func() { v.carry(in, out) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		v.closeAll()
		running.Wait()
	})
	return v
}

func (v *valve) keep(conns ...net.Conn) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.conns = append(v.conns, conns...)
}

func (v *valve) closeAll() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, c := range v.conns {
		c.Close()
	}
}

func (v *valve) shut() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.way = make(chan struct{})
}

func (v *valve) open() {
	v.mu.Lock()
	defer v.mu.Unlock()
	close(v.way)
}

// pass returns when the valve is open.
func (v *valve) pass() {
	v.mu.Lock()
	way := v.way
	v.mu.Unlock()
	<-way
}

func (v *valve) carry(to, from net.Conn) {
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		v.pass()
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
