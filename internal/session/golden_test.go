package session_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/session"
)

var update = flag.Bool("update", false, "rewrite what the golden logs fold to")

// TestGoldenLogs folds the logs that earlier versions wrote, and compares what
// they amount to. A log is never rewritten: a new version adds its own.
func TestGoldenLogs(t *testing.T) {
	logs, err := filepath.Glob("testdata/golden/*.log")
	if err != nil || len(logs) == 0 {
		t.Fatalf("no golden logs: %v", err)
	}
	for _, name := range logs {
		t.Run(filepath.Base(name), func(t *testing.T) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			s := foldLines(t, data)
			got := summary(t, s)
			want := name[:len(name)-len(".log")] + ".json"
			if *update {
				if err := os.WriteFile(want, got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			expect, err := os.ReadFile(want)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(expect), string(got)); diff != "" {
				t.Errorf("state (-want +got):\n%s", diff)
			}
		})
	}
}

func foldLines(t *testing.T, data []byte) *session.State {
	t.Helper()
	s := session.New("sess_1")
	at := time.Unix(1_800_000_000, 0).UTC()
	for line := range bytes.Lines(data) {
		kind, payload, _ := bytes.Cut(bytes.TrimRight(line, "\n"), []byte(" "))
		r := event.Record{
			Session: s.ID, Seq: s.Seq + 1, Time: at, Kind: event.Kind(kind), Version: 1,
			Data: payload, Salt: make([]byte, event.SaltSize),
		}
		r.Seal(s.Hash)
		if err := session.Fold(s, &r); err != nil {
			t.Fatal(err)
		}
		at = at.Add(time.Second)
	}
	return s
}

// summary is what a client and a model would see of the state.
func summary(t *testing.T, s *session.State) []byte {
	t.Helper()
	type effect struct {
		Kind, Name, Status, Class string
		Attempt                   int
	}
	view := struct {
		Status, Hash, Agent string
		Seq, CostNanoUSD    int64
		Usage               event.Usage
		Turns               []string
		Items               []*event.Item
		Effects             []effect
		Context             []*event.Item
		Tools               []string
	}{
		Status: s.Status(), Hash: s.Hash.String(), Agent: s.Agent.ID, Seq: s.Seq, CostNanoUSD: s.CostNanoUSD, Usage: s.Usage,
		Context: s.Context(),
	}
	for _, turn := range s.Turns {
		view.Turns = append(view.Turns, fmt.Sprintf("%s %s steps=%d outputs=%d", turn.ID, turn.Status, turn.Steps, turn.Outputs))
	}
	for _, en := range s.Items {
		view.Items = append(view.Items, en.Item)
	}
	for _, e := range s.Effects {
		view.Effects = append(view.Effects, effect{string(e.Kind), e.Name, string(e.Status), string(e.Class), e.Attempt})
	}
	for _, tool := range s.Toolset() {
		view.Tools = append(view.Tools, tool.Name)
	}
	out, err := json.MarshalIndent(view, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(out, '\n')
}

// TestChain shows that a log that was changed after the fact is found out, and
// that one whose data was erased still verifies.
func TestChain(t *testing.T) {
	var records []event.Record
	var prev event.Hash
	for i, data := range []string{`{"project":"p"}`, `{"turn_id":"t1"}`, `{"turn_id":"t2"}`} {
		kind := event.KindTurnCreated
		if i == 0 {
			kind = event.KindSessionCreated
		}
		r := event.Record{Session: "sess_1", Seq: int64(i + 1), Time: time.Unix(1_800_000_000, 999), Kind: kind, Version: 1, Data: []byte(data), Salt: bytes.Repeat([]byte{byte(i)}, event.SaltSize)}
		r.Seal(prev)
		prev = r.Hash
		records = append(records, r)
	}
	verify := func(change func([]event.Record)) error {
		log := append([]event.Record(nil), records...)
		change(log)
		var prev event.Hash
		for i := range log {
			if err := log[i].Verify(prev); err != nil {
				return err
			}
			prev = log[i].Hash
		}
		return nil
	}
	if err := verify(func([]event.Record) {}); err != nil {
		t.Errorf("an untouched log: %v", err)
	}
	if err := verify(func(l []event.Record) { l[1].Data, l[1].Salt = nil, nil }); err != nil {
		t.Errorf("an erased record: %v", err)
	}
	for name, change := range map[string]func([]event.Record){
		"data":    func(l []event.Record) { l[1].Data = []byte(`{"turn_id":"tX"}`) },
		"salt":    func(l []event.Record) { l[1].Salt = make([]byte, event.SaltSize) },
		"time":    func(l []event.Record) { l[1].Time = l[1].Time.Add(time.Second) },
		"kind":    func(l []event.Record) { l[1].Kind = event.KindTurnEnded },
		"order":   func(l []event.Record) { l[1], l[2] = l[2], l[1] },
		"dropped": func(l []event.Record) { copy(l[1:], l[2:]) },
		"resealed": func(l []event.Record) {
			l[1].Data = []byte(`{"turn_id":"tX"}`)
			l[1].Seal(l[0].Hash)
		},
	} {
		if err := verify(change); err == nil {
			t.Errorf("a log whose %s was changed verifies", name)
		}
	}
}
