package loop_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/loop"
	"github.com/stayd/stayd/internal/session"
)

var update = flag.Bool("update", false, "rewrite the transcripts")

// TestTranscripts plays the story in each file's "story" section: what came in,
// what the outside answered, when the process was killed. After each line the
// loop is asked until it has nothing to write, and what was appended and what is
// to be under way is compared with the "log" section.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			sections := map[string]*txtar.File{}
			for i := range ar.Files {
				sections[ar.Files[i].Name] = &ar.Files[i]
			}
			got := play(t, sections)
			if *update {
				sections["log"].Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(ar), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(sections["log"].Data), got); diff != "" {
				t.Errorf("log (-want +got):\n%s", diff)
			}
		})
	}
}

// story is a session with a clock and a process that can be killed.
type story struct {
	t *testing.T
	s *session.State
	// session is the id that new records bear.
	session string
	now     time.Time
	epoch   int64
	out     strings.Builder
	names   map[string]string // long ids -> short ones
	turns   int
}

func play(t *testing.T, sections map[string]*txtar.File) string {
	t.Helper()
	st := &story{t: t, s: session.New("sess_1"), session: "sess_1", now: time.Date(2026, 5, 3, 9, 0, 0, 0, time.UTC), epoch: 1, names: map[string]string{}}
	var created event.SessionCreated
	if err := json.Unmarshal(sections["session"].Data, &created); err != nil {
		t.Fatal(err)
	}
	st.append(&created)
	for line := range strings.Lines(string(sections["story"].Data)) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		fmt.Fprintf(&st.out, "> %s\n", line)
		st.do(line)
		st.settle()
	}
	return st.out.String()
}

func (st *story) do(line string) {
	verb, rest, _ := strings.Cut(line, " ")
	switch verb {
	case "input":
		st.turns++
		id := fmt.Sprintf("turn_%d", st.turns)
		st.command(st.s.Message(event.Input{}, id, "", []event.Item{{
			Type: event.ItemMessage, ID: "msg_" + id, Role: event.RoleUser, Status: event.StatusCompleted,
			Content: []event.Content{{Type: event.PartInputText, Text: rest}},
		}}))
	case "cancel":
		st.command(st.s.Cancel(event.Input{}))
	case "give-up":
		st.command(loop.GiveUp(st.s, "internal_error", "It does not fit."), nil)
	case "answer":
		e := st.s.RequiredActions()[0]
		st.command(st.s.ToolResult(event.Input{}, e.TurnID, e.CallID, event.Item{Status: event.StatusCompleted, Output: event.TextOutput(rest)}))
	case "resolve":
		e := st.s.RequiredActions()[0]
		st.command(st.s.Resolve(event.EffectResolved{EffectID: e.ID, Decision: rest, Output: event.TextOutput("as told")}))
	case "consented", "refused": // what the first action waits for
		e := st.s.RequiredActions()[0]
		st.command(st.s.ResolveConsent(event.ConsentResolved{EffectID: e.ID, Granted: verb == "consented"}, "n"))
	case "crash":
		st.epoch++
	case "connected", "disconnected", "failed":
		st.change(verb, rest)
	case "snapshot": // snapshot FIRST-BYTE [artifact]
		st.snapshot(rest)
	case "fork": // at the last record
		from := st.s.ID
		st.session = "sess_fork"
		st.append(&event.SessionForked{From: from, At: st.s.Seq, EnvironmentID: "env_fork"})
		st.showFork()
	case "wait":
		d, err := time.ParseDuration(rest)
		if err != nil {
			st.t.Fatal(err)
		}
		st.now = st.now.Add(d)
	default:
		st.outcome(verb, rest)
	}
}

// change is what becomes of the environment.
func (st *story) change(status, rest string) {
	p := &event.EnvironmentChanged{Status: status, Epoch: st.epoch}
	if t := st.s.Current(); t != nil {
		p.TurnID = t.ID
	}
	switch {
	case rest == "reset":
		p.Reset = st.s.Place.Resets + 1
	case rest == "tools":
		p.Tools = []event.ToolSpec{{Name: "run_command", ItemType: event.ItemCommandExecution, Class: event.Idempotent}}
	case status == session.PlaceFailed:
		p.Error = &event.TurnError{Code: "sandbox_error", Message: rest}
	}
	st.append(p)
}

func (st *story) snapshot(rest string) {
	first, artifact, _ := strings.Cut(rest, " ")
	p := &event.Snapshot{Root: event.Hash{first[0]}, Files: 1, Bytes: 10}
	if artifact != "" {
		p.Artifacts = []event.ArtifactFile{{Path: artifact, Size: 10}}
	}
	st.append(p)
}

// showFork shows what a fork begins with.
func (st *story) showFork() {
	fmt.Fprintf(&st.out, "  is %s in %s: spent %d tokens, environment %s, root %.2s, artifacts %d\n", st.s.ID, st.s.Environment.ID,
		st.s.Usage.Total(), st.s.Place.Status, st.s.Place.Root, len(st.s.Artifacts))
	for i := range st.s.Items {
		if it := st.s.Items[i]; it.Error != "" {
			fmt.Fprintf(&st.out, "  is %s %s: %s\n", it.Name, it.Status, it.Error)
		}
	}
}

// outcome answers what the loop wants to have under way.
func (st *story) outcome(verb, rest string) {
	start := st.want(verb)
	switch verb {
	case "model": // model text, or model =[items as JSON]
		items := []event.Item{{Type: event.ItemMessage, Content: []event.Content{{Type: event.PartOutputText, Text: rest}}}}
		if raw, ok := strings.CutPrefix(rest, "="); ok {
			items = nil
			if err := json.Unmarshal([]byte(raw), &items); err != nil {
				st.t.Fatal(err)
			}
		}
		st.append(&event.ModelResponded{
			EffectID: start.ID, TurnID: start.TurnID, RequestHash: st.s.RequestHash(), Model: "script/story",
			Items: st.s.Bind(st.s.Current(), items), Usage: event.Usage{InputTokens: 100, OutputTokens: 10},
		})
	case "summary":
		_, covers := st.s.CompactionRequest(start.Covers)
		st.append(&event.ContextCompacted{EffectID: start.ID, TurnID: start.TurnID, Model: "script/story", Item: event.Item{
			Type: event.ItemCompaction, ID: "summary", Covers: covers, Content: []event.Content{{Type: event.PartSummaryText, Text: rest}},
		}})
	case "listed":
		var tools []event.ToolSpec
		if err := json.Unmarshal([]byte(rest), &tools); err != nil {
			st.t.Fatal(err)
		}
		st.append(&event.ToolsListed{EffectID: start.ID, TurnID: start.TurnID, ServerLabel: start.Server, Tools: tools})
	case "ready":
		st.append(&event.EnvironmentChanged{EffectID: start.ID, TurnID: start.TurnID, Status: "ready", Tools: []event.ToolSpec{
			{Name: "read_file", Class: event.Pure}, {Name: "run_command", ItemType: event.ItemCommandExecution},
		}})
	case "suspended":
		st.append(&event.EnvironmentChanged{TurnID: start.TurnID, Status: "suspended"})
	case "result":
		st.append(&event.EffectFinished{EffectID: start.ID, TurnID: start.TurnID, Status: event.StatusCompleted, Output: event.TextOutput(rest)})
	case "unknown":
		st.append(&event.EffectUnknown{EffectID: start.ID, TurnID: start.TurnID, Reason: rest})
	case "consent": // consent [uncertain]: a person has to agree first
		st.append(&event.ConsentRequested{
			EffectID: start.ID, What: start.What, TurnID: start.TurnID, Attempt: start.Attempt, ServerLabel: start.Server, Nonce: "n", Uncertain: rest != "",
		})
	case "fail", "uncertain": // fail CODE [retry after a second]
		code, retry, _ := strings.Cut(rest, " ")
		p := &event.EffectFailed{
			EffectID: start.ID, What: start.What, TurnID: start.TurnID, Attempt: start.Attempt, Code: code,
			Message: "it failed", Uncertain: verb == "uncertain",
		}
		if retry != "" {
			at := st.now.Add(time.Second)
			p.RetryAt = &at
		}
		st.append(p)
	default:
		st.t.Fatalf("unknown verb %q", verb)
	}
}

// want returns the effect that an outcome is for: the first that is to be under
// way, of the kind that the verb answers.
func (st *story) want(verb string) loop.Start {
	st.t.Helper()
	kinds := map[string]event.EffectKind{"model": event.EffectModel, "summary": event.EffectCompaction, "result": event.EffectTool}
	for _, start := range loop.Next(st.s, st.moment()).Start {
		if k, ok := kinds[verb]; !ok || k == start.What {
			return start
		}
	}
	st.t.Fatalf("nothing is under way that %q answers; so far:\n%s", verb, st.out.String())
	return loop.Start{}
}

func (st *story) moment() loop.Moment { return loop.Moment{Now: st.now, Epoch: st.epoch} }

func (st *story) settle() {
	for range 20 {
		step := loop.Next(st.s, st.moment())
		if len(step.Append) == 0 {
			st.show(step)
			return
		}
		for _, p := range step.Append {
			st.append(p)
		}
	}
	st.t.Fatalf("the loop does not settle:\n%s", st.out.String())
}

func (st *story) show(step loop.Step) {
	fmt.Fprintf(&st.out, "  = %s", st.s.Status())
	for _, start := range step.Start {
		mode := "run"
		if start.Mode == loop.Lookup {
			mode = "look up"
		}
		name := start.Server
		if start.Item != nil {
			name += "/" + start.Item.Name
		}
		fmt.Fprintf(&st.out, "; %s %s %s #%d", mode, start.What, strings.TrimPrefix(name, "/"), start.Attempt)
		if start.Doubt {
			fmt.Fprint(&st.out, " in doubt")
		}
	}
	if !step.WakeAt.IsZero() {
		fmt.Fprintf(&st.out, "; wake in %s", step.WakeAt.Sub(st.now))
	}
	fmt.Fprintln(&st.out)
}

func (st *story) command(payloads []event.Payload, err error) {
	if err != nil {
		fmt.Fprintf(&st.out, "  refused: %v\n", err)
		return
	}
	for _, p := range payloads {
		st.append(p)
	}
}

func (st *story) append(p event.Payload) {
	st.t.Helper()
	data, err := event.Encode(p)
	if err != nil {
		st.t.Fatal(err)
	}
	r := event.Record{Session: st.session, Seq: st.s.Seq + 1, Time: st.now, Kind: p.Kind(), Version: event.Version, Data: data, Salt: make([]byte, event.SaltSize)}
	r.Seal(st.s.Hash)
	if err := session.Fold(st.s, &r); err != nil {
		st.t.Fatalf("%v\n%s", err, st.out.String())
	}
	fmt.Fprintf(&st.out, "  + %s\n", describe(st.s, p))
}

// describe names what a record says, without ids.
func describe(s *session.State, p event.Payload) string {
	name := func(id string) string {
		if e := s.Effect(id); e != nil && e.Name != "" {
			return e.Name
		} else if e != nil {
			return string(e.Kind)
		}
		return "?"
	}
	switch p := p.(type) {
	case *event.TurnEnded:
		if p.Error != nil {
			return fmt.Sprintf("%s %s %s: %s", p.Kind(), p.Status, p.Error.Code, p.Error.Message)
		}
		return fmt.Sprintf("%s %s", p.Kind(), p.Status)
	case *event.EffectStarted:
		return fmt.Sprintf("%s %s %s #%d epoch %d", p.Kind(), name(p.EffectID), p.Class, p.Attempt, p.Epoch)
	case *event.EffectFailed:
		return fmt.Sprintf("%s %s %s #%d", p.Kind(), name(p.EffectID), p.Code, p.Attempt)
	case *event.EffectFinished:
		return fmt.Sprintf("%s %s %s", p.Kind(), name(p.EffectID), p.Status)
	case *event.EffectUnknown:
		return fmt.Sprintf("%s %s: %s", p.Kind(), name(p.EffectID), p.Reason)
	case *event.ConsentRequested:
		return fmt.Sprintf("%s %s of %s #%d", p.Kind(), name(p.EffectID), p.ServerLabel, p.Attempt)
	case *event.ConsentResolved:
		return fmt.Sprintf("%s %s granted %v", p.Kind(), name(p.EffectID), p.Granted)
	case *event.EffectResolved:
		return fmt.Sprintf("%s %s %s", p.Kind(), name(p.EffectID), p.Decision)
	case *event.ModelResponded:
		var items []string
		for _, it := range p.Items {
			items = append(items, strings.Trim(it.Type+" "+it.Name+" "+it.Status, " "))
		}
		return fmt.Sprintf("%s [%s]", p.Kind(), strings.Join(items, ", "))
	case *event.ContextCompacted:
		return fmt.Sprintf("%s covers %d", p.Kind(), len(p.Item.Covers))
	}
	return string(p.Kind())
}
