package exportfile_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stayd/stayd/cmd/stayd/internal/exportfile"
	"github.com/stayd/stayd/internal/client"
	"github.com/stayd/stayd/internal/event"
)

// exportOf is the export of a log with these payloads.
func exportOf(tb testing.TB, payloads ...event.Payload) string {
	tb.Helper()
	var out bytes.Buffer
	var prev event.Hash
	for i, p := range payloads {
		data, err := event.Encode(p)
		if err != nil {
			tb.Fatal(err)
		}
		r := event.Record{Session: "sess_1", Seq: int64(i + 1), Kind: p.Kind(), Version: event.Version, Data: data, Salt: []byte("0123456789abcdef")}
		r.Seal(prev)
		prev = r.Hash
		salt := "30313233343536373839616263646566"
		err = exportfile.Write(&out, r.Session, client.Record{
			Seq: r.Seq, Time: r.Time, Kind: string(r.Kind), Version: r.Version, Data: r.Data, Salt: &salt, Digest: r.Digest.String(), Hash: r.Hash.String(),
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
	return out.String()
}

func twoRecords(tb testing.TB) string {
	tb.Helper()
	return exportOf(tb, &event.SessionCreated{Project: "p<&>"}, &event.TurnEnded{TurnID: "turn_1", Status: "completed"})
}

func TestVerify(t *testing.T) {
	whole := twoRecords(t)
	lines := strings.SplitAfter(whole, "\n")
	for _, tc := range []struct {
		name, in, reason string
		records          int64
	}{
		{"whole", whole, "", 2},
		{"without the last line's end", strings.TrimSuffix(whole, "\n"), "", 2},
		{"changed data", strings.Replace(whole, "p<&>", "q<&>", 1), "data does not match its digest", 0},
		{"changed time", strings.Replace(whole, `"kind":"turn.ended"`, `"kind":"turn.created"`, 1), "does not follow", 1},
		{"first missing", lines[1], "stands where record 1", 0},
		{"twice", lines[0] + lines[0], "stands where record 2", 1},
		{"of another session", strings.Replace(whole, `"session":"sess_1"`, `"session":"sess_2"`, 1), "does not follow", 0},
		{"no hash", strings.Replace(whole, `"hash":"`, `"hash":"x`, 1), "not a SHA-256", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v, _, err := exportfile.Verify(strings.NewReader(tc.in))
			if err != nil {
				t.Fatal(err)
			}
			if v.OK != (tc.reason == "") || !strings.Contains(v.Reason, tc.reason) || v.Records != tc.records {
				t.Errorf("%+v, want reason %q after %d records", v, tc.reason, tc.records)
			}
		})
	}
	for _, in := range []string{"", "\n", "no json\n"} {
		if _, _, err := exportfile.Verify(strings.NewReader(in)); err == nil {
			t.Errorf("%q is taken for an export", in)
		}
	}
}

// FuzzVerify checks that whatever is not the export itself does not verify
// as the same log.
func FuzzVerify(f *testing.F) {
	whole := twoRecords(f)
	want, _, err := exportfile.Verify(strings.NewReader(whole))
	if err != nil || !want.OK {
		f.Fatalf("the export does not verify: %+v, %v", want, err)
	}
	f.Add(whole)
	f.Add(strings.Replace(whole, "completed", "cancelled", 1))
	f.Add("{}\n")
	f.Fuzz(func(t *testing.T, in string) {
		v, session, err := exportfile.Verify(strings.NewReader(in))
		if err == nil && v.OK && session == "sess_1" && v.Hash == want.Hash && v.Records != want.Records {
			t.Errorf("%d records have the hash of %d", v.Records, want.Records)
		}
	})
}
