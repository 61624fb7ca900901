package main

import (
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

// progress shows on a terminal that something goes on, and since when.
type progress struct {
	to      *os.File
	enabled bool

	mu      sync.Mutex
	stop    chan struct{}
	stopped chan struct{}
}

func newProgress(to *os.File) *progress {
	return &progress{to: to, enabled: term.IsTerminal(int(to.Fd()))}
}

// quietFor is how long something may take before progress is shown.
const quietFor = time.Second

const spinner = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"

// during shows that the thing goes on, if it takes a while, until the returned
// function is called.
func (p *progress) during(what string) (done func()) {
	if p == nil || !p.enabled {
		return func() {}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stop != nil {
		return func() {}
	}
	p.stop, p.stopped = make(chan struct{}), make(chan struct{})
	go spin(p.to, what, p.stop, p.stopped)
	return p.clear
}

// clear ends what is shown, and wipes it away.
func (p *progress) clear() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stop == nil {
		return
	}
	close(p.stop)
	<-p.stopped
	p.stop = nil
}

func spin(to *os.File, what string, stop, stopped chan struct{}) {
	defer close(stopped)
	start := time.Now()
	select {
	case <-stop:
		return
	case <-time.After(quietFor):
	}
	frames := []rune(spinner)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		fmt.Fprintf(to, "\r%c %s (%ds)\x1b[K", frames[i%len(frames)], what, int(time.Since(start).Seconds())) //nolint:errcheck // only decoration
		select {
		case <-stop:
			fmt.Fprint(to, "\r\x1b[K") //nolint:errcheck // only decoration
			return
		case <-tick.C:
		}
	}
}
