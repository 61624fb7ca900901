package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stayd/stayd/internal/tool"
)

// Many is what environments take that are open at once.
type Many struct {
	Sandbox      string `json:"sandbox"`
	Environments int    `json:"environments"`
	// WallMS is the time until all were open and had run a command, all begun at
	// once; Open and Command are of one of them meanwhile.
	WallMS  float64 `json:"wall_ms"`
	Open    Timing  `json:"open"`
	Command Timing  `json:"command"`
	// ProcessMB is the resident memory of this process, and ProgramsMB that of all
	// the processes of the environments, what they share counted once, while each
	// runs a program that waits. Processes counts them.
	ProcessMB  float64 `json:"process_mb"`
	ProgramsMB float64 `json:"programs_mb"`
	Processes  int     `json:"processes"`
	CloseMS    float64 `json:"close_ms"` // of all
	// Left is how many of the processes, and of files that the commands should have
	// made, were not as they should be when all was closed.
	Left    int `json:"processes_left"`
	Missing int `json:"files_missing"`
}

// crowd is the environments that are open at once.
type crowd struct {
	*ComputeOptions
	sandbox       string
	dirs          []string // the workspaces
	servers       []tool.Server
	opened, spent []time.Duration
}

func (o *ComputeOptions) many(ctx context.Context, name string, n int) (m *Many, err error) {
	o.Progress(fmt.Sprintf("%d environments at once in the sandbox %s", n, name))
	m = &Many{Sandbox: name, Environments: n}
	before, err := descendants(os.Getpid())
	if err != nil {
		return nil, err
	}
	c := crowd{
		ComputeOptions: o, sandbox: name, dirs: make([]string, n), servers: make([]tool.Server, n),
		opened: make([]time.Duration, n), spent: make([]time.Duration, n),
	}
	defer func() { err = errors.Join(err, c.close()) }()
	began := time.Now()
	if err := c.each(func(i int) error { return c.enter(ctx, i) }); err != nil {
		return nil, err
	}
	m.WallMS, m.Open, m.Command = ms(time.Since(began)), timing(c.opened), timing(c.spent)
	// What has ended holds nothing: each is to hold a program.
	if err := c.each(func(i int) error { return c.hold(ctx, i) }); err != nil {
		return nil, err
	}
	during, err := descendants(os.Getpid())
	if err != nil {
		return nil, err
	}
	during = slices.DeleteFunc(during, func(p procID) bool { return slices.Contains(before, p) })
	if err := m.weigh(during); err != nil {
		return nil, err
	}
	began = time.Now()
	if err := c.close(); err != nil {
		return nil, err
	}
	m.CloseMS = ms(time.Since(began))
	for _, p := range during {
		if p.lives() {
			m.Left++
		}
	}
	for _, dir := range c.dirs {
		if _, err := os.Stat(filepath.Join(dir, "touched")); err != nil {
			m.Missing++
		}
	}
	return m, nil
}

// each does a thing in all environments at once.
func (c *crowd) each(do func(i int) error) error {
	var g errgroup.Group
	for i := range c.servers {
		g.Go(func() error { return do(i) })
	}
	return g.Wait()
}

func (c *crowd) enter(ctx context.Context, i int) error {
	spec, err := c.spec(c.sandbox + "_many_" + strconv.Itoa(i))
	if err != nil {
		return err
	}
	c.dirs[i] = spec.WorkspaceDir()
	began := time.Now()
	srv, err := c.Drivers[c.sandbox].Open(ctx, spec)
	if err != nil {
		return err
	}
	c.servers[i] = srv
	opened := time.Now()
	c.opened[i] = opened.Sub(began)
	err = call(ctx, srv, "run_command", map[string]any{"command": "touch touched"})
	c.spent[i] = time.Since(opened)
	return err
}

// hold has a program wait in an environment, and returns when it does.
func (c *crowd) hold(ctx context.Context, i int) error {
	ctx, cancel := context.WithTimeout(ctx, maxStart)
	defer cancel()
	err := call(ctx, c.servers[i], "run_command", map[string]any{"command": "touch waits; exec sleep 3600", "background": true})
	for err == nil {
		if _, err := os.Stat(filepath.Join(c.dirs[i], "waits")); err == nil {
			return nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			err = fmt.Errorf("the program that waits does not run: %w", context.Cause(ctx))
		}
	}
	return err
}

// maxStart is how long a program may take to start among many.
const maxStart = 5 * time.Minute

// close closes those that are open.
func (c *crowd) close() error {
	return c.each(func(i int) error {
		srv := c.servers[i]
		if srv == nil {
			return nil
		}
		c.servers[i] = nil
		return srv.Close()
	})
}

func (m *Many) weigh(programs []procID) (err error) {
	m.Processes = len(programs)
	if m.ProcessMB, err = rss(os.Getpid()); err != nil {
		return err
	}
	for _, p := range programs {
		mb, err := pss(p.pid)
		if errors.Is(err, os.ErrNotExist) {
			continue // it ended meanwhile
		}
		if err != nil {
			return err
		}
		m.ProgramsMB += mb
	}
	return nil
}

// procID is a process. A number alone may be another's later.
type procID struct {
	pid     int
	started string
}

// descendants are the processes that a process started, and those that they did.
func descendants(of int) ([]procID, error) {
	names, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	children := map[int][]procID{}
	for _, name := range names {
		pid, err := strconv.Atoi(filepath.Base(name))
		if err != nil {
			continue
		}
		parent, started, ok := readStat(pid)
		if ok {
			children[parent] = append(children[parent], procID{pid, started})
		}
	}
	var all []procID
	for next := children[of]; len(next) > 0; next = next[1:] {
		all = append(all, next[0])
		next = append(next, children[next[0].pid]...)
	}
	return all, nil
}

// readStat returns a process's parent and when it started; not ok where it has
// ended, whether or not init has taken note of that. See proc(5): after the name,
// which may hold anything, the state is the third field, the parent the fourth and
// the start the 22nd.
func readStat(pid int) (parent int, started string, ok bool) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, "", false
	}
	text := string(data)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return 0, "", false
	}
	parent, err = strconv.Atoi(fields[1])
	return parent, fields[19], err == nil
}

func (p procID) lives() bool {
	_, started, ok := readStat(p.pid)
	return ok && started == p.started
}

// pss is the memory of a process in MB, with its part of what it shares.
func pss(pid int) (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, fmt.Errorf("read the memory of process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(data)) {
		var kb float64
		if _, err := fmt.Sscanf(line, "Pss: %f kB", &kb); err == nil {
			return kb / 1024, nil
		}
	}
	return 0, nil // a process that has no memory, since it has ended
}
