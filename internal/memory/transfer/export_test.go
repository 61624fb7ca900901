package transfer_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/transfer"
)

func full() memory.Record {
	return memory.Record{
		Project: "p", Space: "/actors/alice", Num: 7, Change: 9, ID: memory.ID("p", "/actors/alice", "k"),
		Namespace: "/actors/alice/facts", Strategy: memory.Semantic, Actor: "alice",
		Text: "Says \"<b>yes</b>\" & means it\n\u2028über", Origin: memory.OriginUser, Confidence: 0.1,
		Metadata: map[string]string{"k": "v", "": ""},
		Source: memory.Source{
			SessionID: "s", TurnID: "t", ItemIDs: []string{"i"}, RecordIDs: []string{memory.ID("p", "/actors/alice", "q")}, Speaker: "Alice",
			Position: 3, Label: "l", Model: "m", Prompt: "v1", External: "x",
		},
		ValidFrom: at("2025-01-01T00:00:00.123456789Z"), ValidTo: at("2025-02-01T00:00:00Z"),
		RecordedAt: at("2025-01-02T00:00:00Z"), SupersededAt: at("2025-01-03T00:00:00Z"),
		SupersededBy: memory.ID("p", "/actors/alice", "n"), Supersedes: memory.ID("p", "/actors/alice", "o"), ExpiresAt: at("2027-01-01T00:00:00Z"),
		Vector: []byte{0, 255, 1}, VectorModel: "e/3", Uses: 12, UsedAt: at("2025-03-01T00:00:00Z"),
	}
}

func least() memory.Record {
	return memory.Record{
		Space: "/a", ID: "mem_x", Namespace: "/a", Strategy: memory.Turn, Text: "x", Origin: memory.OriginTool, Metadata: map[string]string{},
	}
}

func written(t *testing.T, vectors bool, records ...memory.Record) string {
	t.Helper()
	var b bytes.Buffer
	w, err := transfer.NewWriter(&b, transfer.Header{ExportedAt: at("2025-06-01T00:00:00Z"), Actor: "alice", Namespace: "/actors/alice"}, vectors)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if err := w.Write(&r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func readAll(s string, opts transfer.Options) ([]memory.Record, transfer.Report, error) {
	var got []memory.Record
	report, err := transfer.Import(strings.NewReader(s), opts, func(r memory.Record) error {
		got = append(got, r)
		return nil
	})
	return got, report, err
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	file := written(t, true, full(), least())
	got, report, err := readAll(file, transfer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := full()
	want.Project, want.Num, want.Change = "", 0, 0
	if diff := cmp.Diff([]memory.Record{want, least()}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if report.Format != transfer.Stayd || report.Read != 2 || report.Kept != 2 || len(report.Lost) != 0 {
		t.Errorf("report %+v", report)
	}
	if again := written(t, true, got...); again != file {
		t.Errorf("written again it is\n%s\nand was\n%s", again, file)
	}
	header, _, _ := strings.Cut(file, "\n")
	if want := `{"format":"stayd-memory","version":1,"exported_at":"2025-06-01T00:00:00Z","actor":"alice","namespace":"/actors/alice"}`; header != want {
		t.Errorf("the header is %s", header)
	}
}

func TestVectorsAreWrittenOnRequest(t *testing.T) {
	t.Parallel()
	got, _, err := readAll(written(t, false, full()), transfer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got[0].Vector != nil || got[0].VectorModel != "" {
		t.Errorf("the vector %v of %q is there", got[0].Vector, got[0].VectorModel)
	}
}

func TestWriterRefusesWhatWouldChange(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*memory.Record){
		"not UTF-8":              func(r *memory.Record) { r.Metadata["k"] = "\xff" },
		"no strategy \"hunch\"":  func(r *memory.Record) { r.Strategy = "hunch" },
		"no origin \"\"":         func(r *memory.Record) { r.Origin = "" },
		"no text":                func(r *memory.Record) { r.Text = "" },
		"of which model":         func(r *memory.Record) { r.VectorModel = "" },
		"not between 0 and 1":    func(r *memory.Record) { r.Confidence = 2 },
		"is written \"/actors\"": func(r *memory.Record) { r.Namespace = "actors/" },
	} {
		rec := full()
		change(&rec)
		w, err := transfer.NewWriter(&bytes.Buffer{}, transfer.Header{}, true)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Write(&rec); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want one with %q", err, want)
		}
	}
}

func TestOwnFormatIsStrict(t *testing.T) {
	t.Parallel()
	const header = `{"format":"stayd-memory","version":1,"exported_at":"2025-06-01T00:00:00Z"}` + "\n"
	const rec = `{"id":"mem_x","namespace":"/a","strategy":"turn","text":"x","origin":"tool"}` + "\n"
	for _, c := range []struct{ file, want string }{
		{header + "\n" + rec + `{"id":"mem_y","namespace":"/a","strategy":"turn","text":"x","origin":"tool","mood":"odd"}`, `line 4: json: unknown field "mood"`},
		{header + rec + `{"id":"mem_y","namespace":"/a","strategy":"turn","text":"x"`, "line 3: the JSON ends before it is complete"},
		{header + `{"id":"mem_y","namespace":"/a/../b","strategy":"turn","text":"x","origin":"tool"}`, `line 2: namespace "/a/../b"`},
		{header + `{"id":"mem_y","namespace":"/a","strategy":"guess","text":"x","origin":"tool"}`, `line 2: there is no strategy "guess"`},
		{header + `{"id":"mem_y","namespace":"/a","strategy":"turn","text":"x","origin":"tool","valid_from":"noon"}`, "line 2: "},
		{header + strings.TrimSpace(rec) + rec, "line 2: there is more than one JSON value"},
		{header + `{"id":"mem_y","text":"` + "\xff" + `"}`, "line 2: these are not characters of UTF-8"},
		{`{"format":"stayd-memory","version":2,"exported_at":"2025-06-01T00:00:00Z"}`, "line 1: the header: the version is 2, and this program reads version 1"},
		{`{"format":"stayd-memory","version":1,"owner":"x"}`, `line 1: the header: json: unknown field "owner"`},
		{`{"format":"else","version":1}`, `line 1: the header: the format is "else"`},
		{"\n\n", "the file is empty"},
	} {
		_, _, err := readAll(c.file, transfer.Options{Format: transfer.Stayd})
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("the error is %v\nwant %s\nof %s", err, c.want, c.file)
		}
	}
}

func TestOwnFormatOfOneActor(t *testing.T) {
	t.Parallel()
	bob := full()
	bob.Actor, bob.Namespace = "bob", "/actors/bob"
	got, report, err := readAll(written(t, false, full(), bob), transfer.Options{Actor: "alice"})
	if err != nil || len(got) != 1 || got[0].Actor != "alice" {
		t.Fatalf("%d records, %v", len(got), err)
	}
	if len(report.Lost) != 1 || report.Lost[0].Kind != "other_actor" || report.Lost[0].Examples[0] != "line 3: bob" {
		t.Errorf("report %+v", report)
	}
}

func TestPlace(t *testing.T) {
	t.Parallel()
	rec := full()
	if back := transfer.Place("p", transfer.Stayd, rec); !cmp.Equal(back, rec) {
		t.Errorf("brought back where it came from, it changed:\n%s", cmp.Diff(rec, back))
	}
	shard := memory.ShardOf("other", rec.Space)
	there := transfer.Place("other", transfer.Stayd, rec)
	for _, id := range []string{there.ID, there.Supersedes, there.SupersededBy, there.Source.RecordIDs[0]} {
		if n, ok := memory.ShardOfID(id); !ok || n != shard {
			t.Errorf("the id %q is not one of the project", id)
		}
	}
	if rec.Source.RecordIDs[0] != full().Source.RecordIDs[0] {
		t.Error("the draft itself was changed")
	}

	drafts, _ := imports(t, "mem0-history.json")
	again, _ := imports(t, "mem0-history.json")
	ids := map[string]memory.Record{}
	for i := range drafts {
		placed := transfer.Place("p", transfer.Mem0, drafts[i])
		ids[placed.ID] = placed
		if diff := cmp.Diff(placed, transfer.Place("p", transfer.Mem0, again[i])); diff != "" {
			t.Errorf("imported again, it is another:\n%s", diff)
		}
	}
	if len(ids) != len(drafts) {
		t.Errorf("%d drafts have %d ids", len(drafts), len(ids))
	}
	for _, r := range ids {
		if r.SupersededBy != "" && ids[r.SupersededBy].Supersedes != r.ID {
			t.Errorf("%s is superseded by %s, which supersedes %s", r.ID, r.SupersededBy, ids[r.SupersededBy].Supersedes)
		}
	}
}

func TestAnErrorOfTheCallerEndsTheImport(t *testing.T) {
	t.Parallel()
	full := errors.New("full")
	calls := 0
	report, err := transfer.Import(strings.NewReader(written(t, false, least(), least())), transfer.Options{}, func(memory.Record) error {
		calls++
		return full
	})
	if !errors.Is(err, full) || calls != 1 || report.Read != 1 {
		t.Errorf("%v after %d calls, %d read", err, calls, report.Read)
	}
}

func TestHeaderTimeIsUTC(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w, err := transfer.NewWriter(&b, transfer.Header{ExportedAt: at("2025-06-01T00:00:00Z").In(time.FixedZone("", 3600))}, false)
	if err != nil || w.Close() != nil || !strings.Contains(b.String(), `"2025-06-01T00:00:00Z"`) {
		t.Errorf("%v: %s", err, b.String())
	}
}
