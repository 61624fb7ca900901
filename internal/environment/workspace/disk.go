package workspace

import (
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"github.com/stayd/stayd/internal/environment"
)

// How often a Disk looks, and how old what it knows may be.
const (
	diskLook    = 50 * time.Millisecond
	diskMeasure = 5 * time.Second
	// diskDear is what a measure may take for it to be made after every call. The
	// files are looked at then in any case, to be kept.
	diskDear = 50 * time.Millisecond
)

// Disk watches how much of the disk the folders of one environment take. To
// measure them is dear, so it is done where the file system's free space, which
// costs nothing to ask for, says that it matters. It is safe for use by many
// goroutines.
type Disk struct {
	limit   int64
	folders []string

	mu       sync.Mutex
	used     int64 // -1: not measured yet
	allowed  int64 // the limit, or more where programs began beyond it
	free     int64 // when it was measured
	measured time.Time
	took     time.Duration
}

// NewDisk returns a Disk of these folders, which are on one file system. 0 is no
// limit, and then only the file system's free space counts.
func NewDisk(limit int64, folders ...string) *Disk {
	return &Disk{limit: limit, allowed: limit, folders: folders, used: -1}
}

// Limit is how many bytes the folders may take; 0 is no limit.
func (d *Disk) Limit() int64 { return d.limit }

// room says why n more bytes cannot be written, and counts them where they can.
func (d *Disk) room(n int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	free, floor := d.space()
	if n > 0 && free-n < floor {
		return pathErrorf("there is no space left: the machine must keep %d MiB", floor>>20)
	}
	if d.limit == 0 {
		return nil
	}
	if n <= 0 {
		return nil
	}
	n += 4096 // for its name, and for what a file takes beyond its size
	if d.refresh(free); d.used+n > d.limit {
		d.measure(free) // much of what was written may have been replaced
	}
	if d.used+n > d.limit {
		return pathErrorf("the disk limit of %d MiB of %s and /tmp together would be exceeded: remove files", d.limit>>20, environment.Workspace)
	}
	d.used += n
	return nil
}

// Over reports whether the folders take more than their limit, before or after a program
// runs in them. The free space alone does not say so: others may have given back
// what the program took.
func (d *Disk) Over() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.limit == 0 {
		return false
	}
	free, _ := d.space()
	if d.took < diskDear {
		d.measure(free)
	} else {
		d.refresh(free)
	}
	return d.used > d.limit
}

// refresh measures where what is known is too old, or says nothing any more, as
// the free space fell or the folders were tidied up.
func (d *Disk) refresh(free int64) {
	age := time.Since(d.measured)
	known := d.used >= 0 && d.used <= d.limit && d.free-free <= (d.limit-d.used)/2
	if known && age < max(diskMeasure, 20*d.took) {
		return
	}
	d.measure(free)
}

func (d *Disk) measure(free int64) {
	start := time.Now()
	d.used = 0
	for _, f := range d.folders {
		d.used += size(f)
	}
	d.free, d.measured = free, time.Now()
	d.took = d.measured.Sub(start)
}

// over reports whether the folders take more than is allowed. It measures at most
// a quarter of the time.
func (d *Disk) over(free int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.limit == 0 {
		return false
	}
	if time.Since(d.measured) >= 4*d.took {
		d.refresh(free)
	}
	if d.used <= d.limit {
		d.allowed = d.limit
	}
	return d.used > d.allowed
}

// slack is how much more an environment may take that is over its limit.
const slack = 1 << 20

// Tolerate has what is over the limit by now not be held against a program that is
// about to start, which may be there to tidy up.
func (d *Disk) Tolerate() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.allowed = max(d.limit, d.used)
	if d.used > d.limit {
		d.allowed += slack
	}
}

// space is the free space of the file system, and how much of it is to stay free:
// a twentieth, or 1 GiB.
func (d *Disk) space() (free, floor int64) {
	free, total, err := spaceOf(d.folders[0])
	if err != nil {
		return 1 << 62, 0
	}
	return free, min(total/20, 1<<30)
}

// size is what a folder takes on the disk, in bytes. What cannot be read counts
// nothing: it is removed at this moment, or the agent's own business.
func size(folder string) int64 {
	var n int64
	filepath.WalkDir(folder, func(_ string, e fs.DirEntry, err error) error { //nolint:errcheck,gosec // see above
		if err != nil {
			return nil //nolint:nilerr // see above
		}
		if info, err := e.Info(); err == nil {
			n += taken(info)
		}
		return nil
	})
	return n
}

// Watch looks until done is closed, and calls stop where the environment takes
// more than it may and goes on to take more. One that was over its limit before
// can so still be tidied up.
func (d *Disk) Watch(done <-chan struct{}, stop func()) {
	tick := time.NewTicker(diskLook)
	defer tick.Stop()
	started, floor := d.space()
	floor = min(floor, started-8*slack)
	d.Over()
	d.Tolerate()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		free, _ := d.space()
		if free < floor || d.over(free) {
			stop()
		}
	}
}
