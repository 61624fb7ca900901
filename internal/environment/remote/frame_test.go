package remote

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestDecode(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{`{"type":"cancel","call":3}`, ""},
		{`{"type":"output","call":1,"text":"hi"}`, ""},
		{`{"type":"hello","body":"e30=","more":true}`, ""},
		{``, "not what one is"},
		{`[]`, "not what one is"},
		{`{"type":"cancel"}`, "a cancel without the number of a call"},
		{`{"type":"result","call":-1}`, "a result without the number of a call"},
		{`{"type":"hello","call":1}`, "a hello with the number of a call"},
		{`{"type":"dance","call":1}`, `a frame of the unknown type "dance"`},
		{`{"type":"call","call":1,"body":"%"}`, "not what one is"},
		{"{\"type\":\"output\",\"call\":1,\"text\":\"\xff\"}", "not UTF-8"},
		{`{"type":"output","call":1,"text":"` + strings.Repeat("x", 256<<10) + `"}`, "at most 262144 are allowed"},
	} {
		_, err := decode([]byte(tt.in))
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%.60s: %v, want %q", tt.in, err, tt.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"type":"hello","body":"e30="}`, `{"type":"call","call":1,"body":"eyJlZmZlY3RfaWQiOiJlIn0="}`,
		`{"type":"result","call":9223372036854775807,"body":"bnVsbA==","more":true}`, `{"type":"output","call":1,"text":"\u0000"}`, `{"Type":"cancel","call":1e2}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		fr, err := decode(in)
		if err != nil {
			return
		}
		var p body
		whole, err := p.add(&fr)
		if err != nil || whole == fr.More {
			t.Fatalf("whole is %v, %v", whole, err)
		}
		if whole {
			var h hello
			if p.decode(&h) == nil && h.check() == nil && (len(h.Tools) == 0 || h.Version != Version) {
				t.Fatalf("a hello was taken that offers nothing: %+v", h)
			}
			var r result
			if p.decode(&r) == nil {
				if _, err := r.result(); (err != nil) != r.NoAnswer {
					t.Fatalf("the result %+v has the error %v", r, err)
				}
			}
		}
		again, err := json.Marshal(fr)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := decode(again); err == nil && !bytes.Equal(back.Body, fr.Body) {
			t.Fatalf("%q is read as %q after it was written", fr.Body, back.Body)
		}
	})
}

func TestCutAt(t *testing.T) {
	for _, tt := range []struct {
		text string
		most int
		want int
	}{{"abc", 5, 3}, {"abc", 2, 2}, {"aé", 2, 1}, {"日本", 5, 3}, {"日本", 3, 3}, {"\x80\x80\x80\x80\x80\x80", 5, 5}} {
		if got := cutAt(tt.text, tt.most); got != tt.want {
			t.Errorf("cutAt(%q, %d) = %d, want %d", tt.text, tt.most, got, tt.want)
		}
	}
}

// TestBodyBound has a document refused that never ends.
func TestBodyBound(t *testing.T) {
	var p body
	f := frame{Type: typeResult, Call: 1, Body: make([]byte, 32<<20), More: true}
	for i := range 3 {
		if _, err := p.add(&f); (err != nil) != (i == 2) {
			t.Fatalf("piece %d: %v", i, err)
		}
	}
}
