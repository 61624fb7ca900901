package sandbox

import (
	"context"
	"errors"
	"time"
)

// Standby says when a sandbox is started ahead of the next program of its
// environment, and how many wait for one, in all environments of a driver.
type Standby struct {
	after, lasts time.Duration
	slots        chan struct{}
}

// NewStandby has a sandbox be started some time after an environment was opened, or
// a program in it has ended, when the machine may have nothing else to do, as a
// model is asked what to do next. It ends when it has waited for as long as it
// lasts. At most so many wait at once; an environment that comes later has none.
func NewStandby(most int, after, lasts time.Duration) *Standby {
	return &Standby{after: after, lasts: lasts, slots: make(chan struct{}, most)}
}

// DefaultStandby has 16 wait at most, two minutes each: one of gVisor has 20 MiB of
// memory, and its start takes 150 ms of a processor.
func DefaultStandby() *Standby { return NewStandby(16, 50*time.Millisecond, 2*time.Minute) }

// next is what waits for the next program of an environment.
type next struct {
	box   *box          // nil: nothing does
	begun chan struct{} // it is being started, until this is closed; nil: it is not
	timer *time.Timer   // starts it, or ends it; nil before the first one
}

// Expect has a sandbox be started for the first program.
func (s *Sandbox) Expect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.planNext()
}

// planNext has a sandbox be started for the next program, or the one that waits wait
// for longer. The caller holds s.mu.
func (s *Sandbox) planNext() {
	if s.ahead == nil || s.closed {
		return
	}
	s.unplanNext()
	if s.next.box != nil {
		s.next.timer = time.AfterFunc(s.kind.Standby.lasts, s.dropNext)
		return
	}
	s.next.timer = time.AfterFunc(s.kind.Standby.after, s.startNext)
}

// unplanNext takes back what planNext did. The caller holds s.mu.
func (s *Sandbox) unplanNext() {
	if s.next.timer != nil {
		s.next.timer.Stop()
	}
}

// launchTime bounds how long it takes to make the namespaces of a sandbox, and so how
// long a program may wait for one that is being made in vain.
const launchTime = 2 * time.Second

// startNext starts a sandbox for the next program, if there may be one. Why it
// cannot be started is not reported: the program, which then starts its own, says
// what is wrong.
func (s *Sandbox) startNext() {
	ctx, cancel := context.WithTimeout(s.ctx, launchTime)
	defer cancel()
	shared, ok := s.beginNext(ctx)
	if !ok {
		return
	}
	defer s.running.Done()
	b, err := s.launchNext(ctx, shared)
	s.mu.Lock()
	close(s.next.begun)
	s.next.begun = nil
	waits := err == nil && !s.closed
	if waits {
		s.next.box = b
		s.planNext()
	} else {
		<-s.kind.Standby.slots
	}
	s.mu.Unlock()
	if err == nil && !waits {
		b.discard() //nolint:errcheck,gosec // what is left of it fails the freeing of what it shared
	}
}

// beginNext notes that a sandbox is being started for the next program. What it
// shares with the other programs is there until running is done.
func (s *Sandbox) beginNext(ctx context.Context) (shared Shared, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.next.begun != nil || s.next.box != nil {
		return Shared{}, false
	}
	select {
	case s.kind.Standby.slots <- struct{}{}:
	default:
		return Shared{}, false
	}
	if s.make(ctx) != nil || s.renewGroup() != nil {
		<-s.kind.Standby.slots
		return Shared{}, false
	}
	s.next.begun = make(chan struct{})
	s.started++
	s.running.Add(1)
	return s.shared, true
}

// launchNext starts the sandbox.
func (s *Sandbox) launchNext(ctx context.Context, shared Shared) (*box, error) {
	l, err := s.ahead.LaunchAhead(shared)
	if err != nil {
		return nil, err
	}
	b, err := newBox(l, s.starts)
	if err != nil {
		return nil, err
	}
	if err := b.admit(ctx); err != nil {
		return nil, errors.Join(err, b.discard())
	}
	return b, nil
}

// awaitNext waits for the sandbox that is being started for the next program, if one
// is: it is ready before another would be.
func (s *Sandbox) awaitNext(ctx context.Context) {
	s.mu.Lock()
	begun := s.next.begun
	s.mu.Unlock()
	if begun != nil {
		select {
		case <-begun:
		case <-ctx.Done():
		}
	}
}

// takeNext returns what waits for the next program; from then on nothing does.
// The caller holds s.mu.
func (s *Sandbox) takeNext() *box {
	s.unplanNext()
	b := s.next.box
	if b != nil {
		s.next.box = nil
		<-s.kind.Standby.slots
	}
	return b
}

// dropNext ends what waited in vain.
func (s *Sandbox) dropNext() {
	s.mu.Lock()
	b := s.takeNext()
	if b != nil {
		s.running.Add(1)
	}
	s.mu.Unlock()
	if b != nil {
		defer s.running.Done()
		b.discard() //nolint:errcheck,gosec // what is left of it fails the freeing of what it shared
	}
}
