// Package cgroup limits the programs of an environment together, by control
// groups of the kernel, where this process may make some. It knows both versions
// of them, and nothing of what runs in them. It needs Linux.
package cgroup

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stayd/stayd/internal/environment/shell"
)

// Hierarchies are the places where this process may make control groups. Each is
// empty where it may not.
type Hierarchies struct {
	version string // "cgroup v1" or "cgroup v2"
	memory  string
	pids    string
	cpu     string
	name    string // of groups, up to their number
	n       atomic.Int64
}

// MemoryLimit is how memory is limited on this machine: "cgroup v1" or "cgroup
// v2", or empty, which is not at all.
func (h *Hierarchies) MemoryLimit() string {
	if h.memory == "" {
		return ""
	}
	return h.version
}

// Find looks for hierarchies in which a group can be made and limited. It
// clears what a killed process left there.
func Find() *Hierarchies {
	mounts, own := cgroupMounts(), ownCgroups()
	h := &Hierarchies{version: "cgroup v1", name: fmt.Sprintf("stayd-%d-%s-", os.Getpid(), rand.Text()[:8])}
	for _, c := range []struct {
		controller, limit string
		into              *string
	}{{"memory", "memory.limit_in_bytes", &h.memory}, {"pids", "pids.max", &h.pids}, {"cpu", "cpu.cfs_quota_us", &h.cpu}} {
		if m, ok := mounts[c.controller]; ok {
			*c.into = m.writable(own[c.controller], c.limit)
		}
	}
	if m, ok := mounts[""]; ok && h.memory == "" {
		h.takeV2(m, own[""])
	}
	for _, dir := range []string{h.memory, h.pids, h.cpu} {
		clearLeft(dir)
	}
	return h
}

// mount is where a hierarchy is, and which of its groups is at that place.
type mount struct{ dir, root string }

// takeV2 takes the one hierarchy of version 2. A process is in one group of it, so
// that all limits are to be in the same place.
func (h *Hierarchies) takeV2(m mount, own string) {
	dir := m.writable(own, "memory.max")
	if dir == "" {
		return
	}
	h.version, h.memory, h.pids, h.cpu = "cgroup v2", dir, "", ""
	if limits(dir, "pids.max") {
		h.pids = dir
	}
	if limits(dir, "cpu.max") {
		h.cpu = dir
	}
}

// writable is the folder in which a group with the limit can be made: that of
// this process, or the next above it. In version 2, a group with processes limits
// no groups in it, so that it is the one above where nothing else was arranged.
func (m mount) writable(own, limit string) string {
	dir := filepath.Join(m.dir, strings.TrimPrefix(own, m.root))
	for strings.HasPrefix(dir, m.dir+"/") {
		if limits(dir, limit) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
	if limits(m.dir, limit) {
		return m.dir
	}
	return ""
}

// limits reports whether groups with the limit can be made in a folder. Where
// version 2 has the controller for the folder but not for groups in it, it is
// switched on for them.
func limits(dir, limit string) bool {
	probe := filepath.Join(dir, fmt.Sprintf("stayd-%d-probe-%s", os.Getpid(), limit))
	if err := os.Mkdir(probe, 0o750); err != nil {
		return false
	}
	file := filepath.Join(probe, limit)
	err := unix.Access(file, unix.W_OK)
	if errors.Is(err, unix.ENOENT) {
		controller, _, _ := strings.Cut(limit, ".")
		if os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+controller), 0) == nil {
			err = unix.Access(file, unix.W_OK)
		}
	}
	return removeGroup(probe) == nil && err == nil
}

// cgroupMounts reads /proc/self/mountinfo; see proc(5). The key is the
// controller, empty for version 2.
func cgroupMounts() map[string]mount {
	found := map[string]mount{}
	eachLine("/proc/self/mountinfo", func(line string) {
		before, after, ok := strings.Cut(line, " - ")
		f, t := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 5 || len(t) < 3 {
			return
		}
		m := mount{dir: f[4], root: f[3]}
		switch t[0] {
		case "cgroup2":
			found[""] = m
		case "cgroup":
			for _, o := range strings.Split(t[2], ",") {
				found[o] = m
			}
		}
	})
	return found
}

// ownCgroups reads /proc/self/cgroup: the group of this process by controller.
func ownCgroups() map[string]string {
	own := map[string]string{}
	eachLine("/proc/self/cgroup", func(line string) {
		f := strings.SplitN(line, ":", 3)
		if len(f) < 3 {
			return
		}
		for _, c := range strings.Split(f[1], ",") {
			own[c] = f[2]
		}
	})
	return own
}

// eachLine calls fn for each line of a file of /proc. One that is not there has
// none.
func eachLine(name string, fn func(string)) {
	f, err := os.Open(name)
	if err != nil {
		return
	}
	defer f.Close() //nolint:errcheck // it was only read
	for s := bufio.NewScanner(f); s.Scan(); {
		fn(s.Text())
	}
}

// clearLeft removes the groups of processes that are no more.
func clearLeft(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, "stayd-*")) // the pattern is well formed
	for _, d := range left {
		pid, err := strconv.Atoi(strings.SplitN(filepath.Base(d), "-", 3)[1])
		if err == nil && errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			unix.Rmdir(d) //nolint:errcheck,gosec // one that is in use stays
		}
	}
}

// Group is the control group of one environment.
type Group struct {
	v2                bool
	memory, pids, cpu string // folders; empty where there is none
}

// LimitsMemory reports whether the group limits the memory of its processes.
func (g *Group) LimitsMemory() bool { return g.memory != "" }

// LimitsProcesses reports whether the group limits how many processes it has.
func (g *Group) LimitsProcesses() bool { return g.pids != "" }

// cpuPeriod is over what time the use of processors is counted, in microseconds.
const cpuPeriod = 100_000

// Create makes a group with these limits. Spare is how many processes and threads
// there may be beside those of the limits, the sandbox's own.
func (h *Hierarchies) Create(l shell.Limits, spare int) (*Group, error) {
	made := &Group{v2: h.version == "cgroup v2"}
	name := h.name + strconv.FormatInt(h.n.Add(1), 10)
	memory, quota := strconv.FormatInt(l.Memory, 10), strconv.Itoa(int(l.CPUs*cpuPeriod))
	memoryLimits := [][2]string{{"memory.limit_in_bytes", memory}, {"memory.memsw.limit_in_bytes", memory}}
	cpuLimits := [][2]string{{"cpu.cfs_period_us", strconv.Itoa(cpuPeriod)}, {"cpu.cfs_quota_us", quota}}
	if made.v2 {
		memoryLimits = [][2]string{{"memory.max", memory}, {"memory.swap.max", "0"}}
		cpuLimits = [][2]string{{"cpu.max", quota + " " + strconv.Itoa(cpuPeriod)}}
	}
	pids := strconv.Itoa(l.Processes + spare)
	var err error
	if made.memory, err = makeGroup(h.memory, name, memoryLimits); err == nil {
		made.pids, err = makeGroup(h.pids, name, [][2]string{{"pids.max", pids}})
	}
	if err == nil {
		made.cpu, err = makeGroup(h.cpu, name, cpuLimits)
	}
	if err != nil {
		return nil, errors.Join(err, made.Remove())
	}
	return made, nil
}

// makeGroup makes a group below parent, where there is one, and returns its
// folder.
func makeGroup(parent, name string, limits [][2]string) (string, error) {
	if parent == "" {
		return "", nil
	}
	dir := filepath.Join(parent, name)
	if err := os.Mkdir(dir, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("make a control group: %w", err)
	}
	for _, l := range limits {
		err := os.WriteFile(filepath.Join(dir, l[0]), []byte(l[1]), 0)
		// Swap is limited only where it is counted.
		if err != nil && !strings.Contains(l[0], "sw") {
			return dir, fmt.Errorf("limit a control group: %w", err)
		}
	}
	return dir, nil
}

// Add puts a process into the group, and those that it will start. The kernel takes
// 5 to 40 ms for that, where it is not asked to often.
func (g *Group) Add(pid int) error {
	for _, dir := range g.dirs() {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
			return fmt.Errorf("put the program into its control group: %w", err)
		}
	}
	return nil
}

// Entrances are open files, by which a process puts itself into the group without
// waiting as in Add: with one thread, it writes "0" to each. The caller closes them.
// There are none in version 2, where it would wait all the same.
func (g *Group) Entrances() ([]*os.File, error) {
	if g.v2 {
		return nil, nil
	}
	var files []*os.File
	for _, dir := range g.dirs() {
		f, err := os.OpenFile(filepath.Join(dir, "tasks"), os.O_WRONLY, 0)
		if err != nil {
			for _, f := range files {
				f.Close() //nolint:errcheck,gosec // nothing was written
			}
			return nil, fmt.Errorf("open a control group: %w", err)
		}
		files = append(files, f)
	}
	return files, nil
}

func (g *Group) dirs() []string {
	var dirs []string
	for _, d := range []string{g.memory, g.pids, g.cpu} {
		if d != "" && !slices.Contains(dirs, d) {
			dirs = append(dirs, d)
		}
	}
	return dirs
}

// Killed is how many processes of the group the kernel killed for its memory.
func (g *Group) Killed() int {
	if g.memory == "" {
		return 0
	}
	name := "memory.oom_control"
	if g.v2 {
		name = "memory.events"
	}
	killed := 0
	eachLine(filepath.Join(g.memory, name), func(line string) {
		if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
			killed, _ = strconv.Atoi(n) // the kernel writes a number
		}
	})
	return killed
}

// Remove removes the group, whose processes have ended.
func (g *Group) Remove() error {
	var errs []error
	for _, d := range g.dirs() {
		errs = append(errs, removeGroup(d))
	}
	return errors.Join(errs...)
}

// removeGroup removes a group whose processes have ended. The kernel may take a
// moment to see that they have.
func removeGroup(dir string) error {
	for wait := time.Millisecond; ; wait *= 2 {
		err := unix.Rmdir(dir)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || wait > 2*time.Second {
			return fmt.Errorf("remove the control group %s: %w", filepath.Base(dir), err)
		}
		time.Sleep(wait) //nolint:forbidigo // the kernel gives no sign of it
	}
}
