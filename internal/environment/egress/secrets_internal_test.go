package egress

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/vault"
)

// What a program writes around a placeholder stays as it is, and what the server
// reads there is the secret, whatever it is made of.
func FuzzFill(f *testing.F) {
	f.Add("before", "secret", "after", true)
	f.Add(`\"`, `"\`+"\x00\xff", "é", false)
	f.Add("%41+", "a b+c%2F/..//?#", "&=;", true)
	f.Add("stayd_secret_", "stayd_secret_", "0", true)
	f.Fuzz(func(t *testing.T, before, value, after string, chunked bool) {
		if value == "" || strings.Contains(before+after, mark) {
			return
		}
		k := newRing(&environment.Secrets{Given: []environment.Secret{{Name: "TOKEN", Value: vault.NewSecret(value)}}})
		placeholder := k.variables()["TOKEN"]
		target := target{host: "a.test", port: 443}
		p := k.passFor(t.Context(), target, true)
		send := func(kind, body string, header string) *http.Request {
			r := &http.Request{Method: http.MethodPost, URL: &url.URL{Path: "/"}, Header: http.Header{"Content-Type": {kind}}, ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body))}
			if chunked {
				r.ContentLength = -1
			}
			if header != "" {
				r.Header.Set("Authorization", header)
			}
			if err := p.fill(r); err != nil {
				return nil
			}
			return r
		}
		read := func(r *http.Request) string {
			b, err := io.ReadAll(r.Body)
			if err != nil || (r.ContentLength >= 0) == chunked || !chunked && r.ContentLength != int64(len(b)) {
				t.Fatalf("%d bytes of %d, %v", len(b), r.ContentLength, err)
			}
			return string(b)
		}
		if got := read(send("text/plain", before+placeholder+after, "")); got != before+value+after {
			t.Fatalf("a text is %q", got)
		}
		form := url.Values{"k": {before + placeholder + after}}
		values, err := url.ParseQuery(read(send("application/x-www-form-urlencoded", form.Encode(), "")))
		if err != nil || len(values) != 1 || values.Get("k") != before+value+after {
			t.Fatalf("a form is %q, %v", values, err)
		}
		quoted, err := json.Marshal([]string{before + placeholder + after})
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		if err := json.Unmarshal([]byte(read(send("application/json", string(quoted), ""))), &list); err != nil || len(list) != 1 || list[0] != valid(before)+valid(value)+valid(after) {
			t.Fatalf("JSON is %q, %v", list, err)
		}
		basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(before+placeholder+after))
		r := send("text/plain", "x", basic)
		if got := r.Header.Get("Authorization"); got != "Basic "+base64.StdEncoding.EncodeToString([]byte(before+value+after)) {
			t.Fatalf("a password is %q", got)
		}
		u := &url.URL{Path: "/" + before + placeholder + after, RawQuery: form.Encode()}
		if err := p.fillURL(u); err != nil || u.Path != "/"+before+value+after || u.EscapedPath() != u.RawPath || u.Query().Get("k") != before+value+after {
			t.Fatalf("a URL is %q, %q, %v", u.Path, u.RawQuery, err)
		}
		if path, err := url.PathUnescape(strings.TrimPrefix(u.RawPath, "/")); err != nil || path != before+value+after {
			t.Fatalf("a path is %q, %v", u.RawPath, err)
		}
	})
}

// valid is the text as it is after JSON, which has no bytes that are no text.
func valid(s string) string {
	var out string
	b, err := json.Marshal(s)
	if err == nil {
		err = json.Unmarshal(b, &out)
	}
	if err != nil {
		return err.Error()
	}
	return out
}

// Of an answer, cut in whatever way, the program does not read the secret.
func FuzzMask(f *testing.F) {
	f.Add("before ", "a secret that is long", " after", []byte{1, 2, 3})
	f.Add("aaaa", "aaaaaaaa", "aaaa", []byte{5})
	f.Add(`{"`, `12345"\678`, `"}`, []byte{7})
	f.Fuzz(func(t *testing.T, before, value, after string, sizes []byte) {
		if len(value) < leastMasked || len(before)+len(value)+len(after) > 1<<12 {
			return
		}
		p := &pass{masked: []allowed{{placeholder: mark + strings.Repeat("0", 40), secret: value}}}
		m := p.mask()
		for _, text := range []string{value, inJSON(value), url.QueryEscape(value)} {
			got, err := io.ReadAll(m.reader(&cut{text: before + text + after, sizes: sizes}))
			if err != nil || strings.Count(string(got), mark) == 0 {
				t.Fatalf("the program reads %q, %v", got, err)
			}
			whole, err := m.all(before + text + after)
			if err != nil || whole != string(got) {
				t.Fatalf("as a whole it is %q, in pieces %q, %v", whole, got, err)
			}
		}
	})
}

// What comes after a short answer does not have the secret either.
func TestTrailersOfAShortAnswer(t *testing.T) {
	m := (&pass{masked: []allowed{{placeholder: mark + strings.Repeat("0", 40), secret: "a secret that is long"}}}).mask()
	resp := &http.Response{
		Request: &http.Request{Method: http.MethodGet}, Header: http.Header{}, StatusCode: http.StatusOK, ContentLength: 4, Trailer: http.Header{"X-After": nil},
	}
	resp.Body = &body{Reader: &ending{Reader: bytes.NewReader([]byte("body")), end: func() { resp.Trailer.Set("X-After", "it is a secret that is long") }}, Closer: io.NopCloser(nil)}
	if err := maskAnswer(resp, m); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if got := resp.Trailer.Get("X-After"); err != nil || string(b) != "body" || got != "it is "+mark+strings.Repeat("0", 40) {
		t.Errorf("the program reads %q and then %q, %v", b, got, err)
	}
}

// ending calls end when all was read.
type ending struct {
	io.Reader
	end func()
}

func (e *ending) Read(p []byte) (int, error) {
	n, err := e.Reader.Read(p)
	if err != nil {
		e.end()
	}
	return n, err
}
