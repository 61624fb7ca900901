package effect_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stayd/stayd/internal/effect"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/feed"
	"github.com/stayd/stayd/internal/loop"
	"github.com/stayd/stayd/internal/memory/keeper"
	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/store/sqlite"
	"github.com/stayd/stayd/internal/store/storefault"
)

// diary is a session with Ana, from which a model draws what it is told to. What a
// process that is killed had to say of it is lost; what it wrote is not.
type diary struct {
	*testing.T
	state   *session.State
	store   store.Store
	answers []string // what the model says next
	asked   []*model.Request
}

// inTwoSpaces has facts and episodes in one space, and preferences in another.
func inTwoSpaces() *event.Memory {
	return &event.Memory{Strategies: []string{"semantic", "episodic", "preference"}, Namespaces: map[string]string{
		"turn": "/actors/{actorId}/said", "semantic": "/actors/{actorId}/facts", "episodic": "/actors/{actorId}/episodes", "preference": "/tastes/{actorId}",
	}}
}

const (
	factsSpace  = "/actors/ana"
	tastesSpace = "/tastes/ana"
)

func newDiary(t *testing.T, m *event.Memory) *diary {
	t.Helper()
	s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "stayd.db"), sqlite.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	d := &diary{T: t, state: session.New("sess"), store: s}
	d.fold(&event.SessionCreated{
		Project: "p", Environment: event.Environment{Type: event.EnvironmentNone}, Actor: "ana", Agent: event.Agent{ID: "agent", Model: "m", Memory: m},
	})
	return d
}

func (d *diary) fold(payloads ...event.Payload) {
	d.Helper()
	for _, p := range payloads {
		data, err := event.Encode(p)
		if err != nil {
			d.Fatal(err)
		}
		r := &event.Record{
			Session: "sess", Seq: d.state.Seq + 1, Time: d.now(), Kind: p.Kind(), Version: event.Version, Data: data, Salt: make([]byte, event.SaltSize),
		}
		r.Seal(d.state.Hash)
		if err := session.Fold(d.state, r); err != nil {
			d.Fatal(err)
		}
	}
}

// now is a second later with every record.
func (d *diary) now() time.Time {
	return time.Date(2026, 5, 3, 9, 0, int(d.state.Seq), 0, time.UTC)
}

// Resolve implements model.Catalog.
func (d *diary) Resolve(name string) ([]model.Candidate, error) {
	return []model.Candidate{{Name: name, ID: name, Model: d}}, nil
}

// Generate implements model.Model.
func (d *diary) Generate(_ context.Context, req *model.Request, _ func(model.Delta)) (*model.Response, error) {
	d.asked = append(d.asked, req)
	if len(d.answers) == 0 {
		d.Error("the model is asked once more than it has answers")
		return nil, &model.Error{Code: "internal_error", Message: "no answer"}
	}
	text := d.answers[0]
	d.answers = d.answers[1:]
	return &model.Response{Items: []event.Item{{
		Type: event.ItemMessage, Role: event.RoleAssistant, Content: []event.Content{{Type: event.PartOutputText, Text: text}},
	}}}, nil
}

// perform makes an attempt in a process of its own, with that store.
func (d *diary) perform(ctx context.Context, st store.Store, id string, what event.EffectKind) event.Payload {
	d.Helper()
	p := &effect.Performer{
		Catalog: d, Feed: feed.New(), Now: d.now, Keeper: keeper.New(keeper.Config{Store: st, Now: d.now, Log: slog.New(slog.DiscardHandler)}),
	}
	out := p.Perform(ctx, p.Prepare(d.state, loop.Start{ID: id, What: what, Class: event.Pure, Attempt: 1}, 1))
	if out == nil {
		return nil
	}
	return out(d.state)[0]
}

// say has a turn in which Ana says something that is kept.
func (d *diary) say(turn, text string) {
	d.Helper()
	d.fold(&event.TurnCreated{TurnID: turn, Items: []event.Item{{
		Type: event.ItemMessage, ID: "msg_" + turn, Role: event.RoleUser, Content: []event.Content{{Type: event.PartInputText, Text: text}},
	}}})
	d.fold(d.perform(d.Context(), d.store, session.KeepEffectID(d.state), event.EffectKeep))
	d.fold(&event.TurnEnded{TurnID: turn, Status: session.TurnCompleted})
}

// extract makes an attempt, of which the outcome is not yet written down.
func (d *diary) extract() *event.MemoryExtracted {
	d.Helper()
	got := d.perform(d.Context(), d.store, session.ExtractEffectID(d.state), event.EffectExtract)
	done, ok := got.(*event.MemoryExtracted)
	if !ok {
		d.Fatalf("the attempt ends with %+v", got)
	}
	return done
}

// killed makes an attempt in a process that is killed when it has written to so many
// spaces, and says to which.
func (d *diary) killed(writes int) (spaces []string) {
	d.Helper()
	ctx, cancel := context.WithCancel(d.Context())
	defer cancel()
	st := storefault.New(d.store)
	st.OnMemories = func(w *store.MemoryWrite) error {
		if len(spaces) == writes {
			cancel()
			return storefault.ErrCrashed
		}
		spaces = append(spaces, w.Space)
		return nil
	}
	d.perform(ctx, st, session.ExtractEffectID(d.state), event.EffectExtract)
	return spaces
}

// drawn are the memories that were drawn, and their ids.
func (d *diary) drawn() (texts, ids []string) {
	d.Helper()
	list, err := d.store.ListMemories(d.Context(), store.MemoryQuery{Project: "p", Superseded: true, Limit: 100})
	if err != nil {
		d.Fatal(err)
	}
	for _, r := range list {
		if r.Strategy != "turn" {
			texts, ids = append(texts, string(r.Strategy)+": "+r.Text), append(ids, r.ID)
		}
	}
	slices.Sort(texts)
	slices.Sort(ids)
	return texts, ids
}

// expect compares what was drawn, and what an extraction says that it was.
func (d *diary) expect(want []string, done ...*event.MemoryExtracted) {
	d.Helper()
	texts, ids := d.drawn()
	if diff := cmp.Diff(want, texts); diff != "" {
		d.Errorf("drawn (-want +got):\n%s", diff)
	}
	var said []string
	for _, e := range done {
		said = append(said, e.MemoryIDs...)
	}
	slices.Sort(said)
	if diff := cmp.Diff(ids, said); diff != "" {
		d.Errorf("ids in the log (-there +said):\n%s", diff)
	}
}

// wanted are the fields that the nth request to the model asks for.
func (d *diary) wanted(n int) []string {
	d.Helper()
	var schema struct{ Required []string }
	if err := json.Unmarshal(d.asked[n].Text.Schema, &schema); err != nil {
		d.Fatal(err)
	}
	return schema.Required
}

// answer is what a model draws, by field.
func answer(fields map[string][]string) string {
	out := map[string][]map[string]any{}
	for name, texts := range fields {
		for _, text := range texts {
			out[name] = append(out[name], map[string]any{"text": text, "lines": []int{1}})
		}
	}
	data, err := json.Marshal(out)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// An extraction whose process is killed between any two of its writes goes on: what a
// space has is all that is drawn into it, and the model is asked for the others alone,
// whatever it says this time.
func TestExtractionGoesOnAfterAKill(t *testing.T) {
	first := map[string][]string{"facts": {"Ana lives in Porto.", "Ana has a flat."}, "episodes": {"A train was booked."}, "preferences": {"Ana likes tea."}}
	second := map[string][]string{"facts": {"Porto is Ana's home.", "Ana is new there.", "Ana rents."}, "episodes": {}, "preferences": {"Ana prefers tea.", "Ana dislikes noise."}}
	facts, tastes := []string{"facts", "episodes"}, []string{"preferences"}
	for _, tt := range []struct {
		name  string
		kill  []string // the spaces that are written before
		first map[string][]string
		asks  []string // what the model is asked for then
		want  []string
	}{
		{"before any", nil, first, []string{"facts", "episodes", "preferences"}, []string{
			"preference: Ana dislikes noise.", "preference: Ana prefers tea.", "semantic: Ana is new there.", "semantic: Ana rents.", "semantic: Porto is Ana's home.",
		}},
		{"after facts", []string{factsSpace}, first, tastes, []string{
			"episodic: A train was booked.", "preference: Ana dislikes noise.", "preference: Ana prefers tea.", "semantic: Ana has a flat.", "semantic: Ana lives in Porto.",
		}},
		{"after episodes, without facts", []string{factsSpace}, map[string][]string{"episodes": first["episodes"], "preferences": first["preferences"]}, tastes, []string{
			"episodic: A train was booked.", "preference: Ana dislikes noise.", "preference: Ana prefers tea.",
		}},
		{"after preferences", []string{tastesSpace}, first, facts, []string{
			"preference: Ana likes tea.", "semantic: Ana is new there.", "semantic: Ana rents.", "semantic: Porto is Ana's home.",
		}},
		{"after all", []string{factsSpace, tastesSpace}, first, nil, []string{
			"episodic: A train was booked.", "preference: Ana likes tea.", "semantic: Ana has a flat.", "semantic: Ana lives in Porto.",
		}},
		{"after all, of which one had nothing", []string{factsSpace}, map[string][]string{"facts": first["facts"]}, tastes, []string{
			"preference: Ana dislikes noise.", "preference: Ana prefers tea.", "semantic: Ana has a flat.", "semantic: Ana lives in Porto.",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := killedAfter(t, tt.kill, answer(tt.first))
			d.answers, d.asked = nil, nil
			if tt.asks != nil {
				d.answers = []string{answer(second)}
			}
			done := d.extract()
			d.expect(tt.want, done)
			if len(d.answers) > 0 {
				t.Error("the model is not asked")
			}
			for n := range d.asked {
				if got := d.wanted(n); !slices.Equal(got, tt.asks) {
					t.Errorf("the model is asked for %q, want %q", got, tt.asks)
				}
			}
			// What is whole stays as it is, though its outcome is lost as well.
			if tt.name != "after all, of which one had nothing" {
				d.expect(tt.want, d.extract())
			}
			d.fold(done)
			if left := d.state.Unextracted(); len(left) > 0 {
				t.Errorf("%d items are left to be drawn from", len(left))
			}
		})
	}
}

// killedAfter is a diary whose extraction was killed when these spaces, in any order,
// were written. Which one is written first is left to chance, so that it is tried
// until it is.
func killedAfter(t *testing.T, spaces []string, answer string) *diary {
	t.Helper()
	for range 100 {
		d := newDiary(t, inTwoSpaces())
		d.say("t1", "I live in Porto and like tea.")
		d.answers = []string{answer}
		written := d.killed(len(spaces))
		slices.Sort(written)
		if slices.Equal(written, spaces) {
			return d
		}
	}
	t.Fatalf("%q were never written first", spaces)
	return nil
}

// What is said until an extraction goes on that was killed, or given up, is not part of
// it, and is drawn from afterwards.
func TestExtractionGoesOnWithWhatItBegan(t *testing.T) {
	for _, spaces := range [][]string{{factsSpace}, {tastesSpace}, {factsSpace, tastesSpace}} {
		for _, gaveUp := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/gave up %t", strings.Join(spaces, "+"), gaveUp), func(t *testing.T) {
				d := killedAfter(t, spaces, answer(map[string][]string{"facts": {"Ana lives in Porto."}, "preferences": {"Ana likes tea."}}))
				if gaveUp {
					d.fold(&event.EffectFailed{EffectID: session.ExtractEffectID(d.state), What: event.EffectExtract, Attempt: 5, Code: "connection_failed"})
				}
				d.say("t2", "I moved to Lyon and like wine now.")
				d.asked, d.answers = nil, nil
				if len(spaces) == 1 {
					d.answers = []string{answer(map[string][]string{"facts": {"Ana lives in Porto."}, "preferences": {"Ana likes tea."}})}
				}
				before := d.extract()
				want := []string{"preference: Ana likes tea.", "semantic: Ana lives in Porto."}
				d.expect(want, before)
				for _, req := range d.asked {
					if text := req.Items[0].Content[0].Text; !strings.Contains(text, "I live in Porto") || strings.Contains(text, "Lyon") {
						t.Errorf("the model is given %q", text)
					}
				}
				d.fold(before)
				d.answers = []string{answer(map[string][]string{"facts": {"Ana lives in Lyon."}, "preferences": {"Ana likes wine."}})}
				d.asked = nil
				after := d.extract()
				d.expect([]string{"preference: Ana likes tea.", "preference: Ana likes wine.", "semantic: Ana lives in Lyon.", "semantic: Ana lives in Porto."}, before, after)
				if len(d.asked) != 1 {
					t.Fatalf("the model is asked %d times for the rest, want once", len(d.asked))
				}
				if text := d.asked[0].Items[0].Content[0].Text; !strings.Contains(text, "1. 2026-05-03, Sunday, ana: I moved to Lyon") {
					t.Errorf("the model is given %q", text)
				}
				d.fold(after)
				if left := d.state.Unextracted(); len(left) > 0 {
					t.Errorf("%d items are left to be drawn from", len(left))
				}
			})
		}
	}
}

// An attempt that is paused before it writes, while another process draws from what
// was said since as well, adds nothing when it goes on.
func TestExtractionThatIsLateAddsNothing(t *testing.T) {
	d := newDiary(t, inTwoSpaces())
	d.say("t1", "I live in Porto and like tea.")
	d.answers = []string{answer(map[string][]string{"facts": {"Ana lives in Porto."}, "preferences": {"Ana likes tea."}})}
	var other *event.MemoryExtracted
	st := storefault.New(d.store)
	st.OnMemories = func(*store.MemoryWrite) error {
		if other == nil {
			other = &event.MemoryExtracted{}
			late := *d.state
			d.say("t2", "And I have a cat.")
			d.answers = []string{answer(map[string][]string{"facts": {"Ana's home is Porto."}, "preferences": {"Ana drinks tea."}})}
			other = d.extract()
			*d.state = late
		}
		return nil
	}
	d.perform(d.Context(), st, session.ExtractEffectID(d.state), event.EffectExtract)
	d.expect([]string{"preference: Ana drinks tea.", "semantic: Ana's home is Porto."}, other)
}

// Of what has no words nothing is drawn, and the model is not asked.
func TestExtractionOfNoWords(t *testing.T) {
	d := newDiary(t, inTwoSpaces())
	d.say("t1", " ")
	done := d.extract()
	d.expect(nil, done)
	d.fold(done)
	if left := d.state.Unextracted(); len(left) > 0 {
		t.Errorf("%d items are left to be drawn from", len(left))
	}
}

// Strategies that share a namespace are found once each.
func TestExtractionOfOneNamespaceGoesOn(t *testing.T) {
	d := newDiary(t, &event.Memory{Strategies: []string{"semantic", "preference"}, Namespaces: map[string]string{
		"turn": "/actors/{actorId}/said", "semantic": "/actors/{actorId}/known", "preference": "/actors/{actorId}/known",
	}})
	d.say("t1", "I live in Porto and like tea.")
	d.answers = []string{answer(map[string][]string{"facts": {"Ana lives in Porto."}, "preferences": {"Ana likes tea."}})}
	d.killed(1)
	done := d.extract()
	d.expect([]string{"preference: Ana likes tea.", "semantic: Ana lives in Porto."}, done)
	if done.Model != "m" || done.Prompt != "extract-1" {
		t.Errorf("it was drawn by %q with %q", done.Model, done.Prompt)
	}
}
