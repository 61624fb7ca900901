package feed_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/feed"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func records(from, to int64) []event.Record {
	var out []event.Record
	for seq := from; seq <= to; seq++ {
		out = append(out, event.Record{Seq: seq})
	}
	return out
}

// TestOrder shows that a reader gets all of its session, in order, and nothing of
// another.
func TestOrder(t *testing.T) {
	f := feed.New()
	a, b := f.Subscribe("s"), f.Subscribe("s")
	defer b.Close()
	other := f.Subscribe("other")
	defer other.Close()
	f.Delta("s", feed.Delta{Text: "one"})
	f.Committed("s", records(1, 2))
	f.Delta("s", feed.Delta{Text: "two"})
	f.Committed("s", records(3, 3))
	for _, sub := range []*feed.Subscription{a, b} {
		<-sub.Ready()
		got, lost := sub.Take()
		if lost || len(got) != 5 {
			t.Fatalf("got %d messages, lost %t", len(got), lost)
		}
		if got[0].Delta.Text != "one" || got[1].Record.Seq != 1 || got[2].Record.Seq != 2 || got[3].Delta.Text != "two" || got[4].Record.Seq != 3 {
			t.Errorf("got them in another order: %+v", got)
		}
		if again, lost := sub.Take(); len(again) != 0 || lost {
			t.Errorf("got %d messages again, lost %t", len(again), lost)
		}
	}
	if got, lost := other.Take(); len(got) != 0 || lost {
		t.Errorf("another session's reader got %d messages, lost %t", len(got), lost)
	}
	a.Close()
	a.Close()
	f.Committed("s", records(4, 4))
	if got, _ := a.Take(); len(got) != 0 {
		t.Errorf("a closed subscription got %d messages", len(got))
	}
	if got, _ := b.Take(); len(got) != 1 {
		t.Errorf("the other reader got %d messages, want 1", len(got))
	}
}

// TestSlowReader shows that a reader who does not take loses what is old, is told
// so once, and has the newest, in order.
func TestSlowReader(t *testing.T) {
	f := feed.New()
	sub := f.Subscribe("s")
	defer sub.Close()
	f.Committed("s", records(1, 1000))
	<-sub.Ready()
	got, lost := sub.Take()
	if !lost || len(got) == 0 || len(got) >= 1000 {
		t.Fatalf("got %d messages, lost %t", len(got), lost)
	}
	for i := range got {
		if want := int64(1000 - len(got) + 1 + i); got[i].Record.Seq != want {
			t.Fatalf("message %d is record %d, want %d", i, got[i].Record.Seq, want)
		}
	}
	f.Committed("s", records(1001, 1001))
	if got, lost := sub.Take(); lost || len(got) != 1 {
		t.Errorf("afterwards got %d messages, lost %t", len(got), lost)
	}
}

// TestHints shows that hints never block, and that a dropped one is told of once.
func TestHints(t *testing.T) {
	f := feed.New()
	f.Wake(feed.Hint{Project: "p", Session: "s"})
	if f.Missed() {
		t.Error("a hint is missed that waits")
	}
	if h := <-f.Runnable(); h.Project != "p" || h.Session != "s" {
		t.Errorf("got %+v", h)
	}
	for range 100_000 {
		f.Wake(feed.Hint{Project: "p", Session: "s"})
	}
	if !f.Missed() || f.Missed() {
		t.Error("dropped hints are to be told of once")
	}
}
