package rerank_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/stayd/stayd/internal/memory/embed/embedtest"
	"github.com/stayd/stayd/internal/memory/rerank"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const key = "sk-verysecret"

func open(t *testing.T, c rerank.Config, s *embedtest.Server) *rerank.Reranker {
	t.Helper()
	c.Client = s.Client
	if c.BaseURL == "" {
		c.BaseURL = "https://rank.example/v2"
	}
	if c.Model == "" {
		c.Model = "judge"
	}
	r, err := rerank.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func said(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

// What is asked, in either form.
func TestRequests(t *testing.T) {
	for _, tt := range []struct {
		name   string
		config rerank.Config
		texts  []string
		path   string
		auth   string
		body   string
	}{
		{
			"documents",
			rerank.Config{APIKey: key},
			[]string{"one", "two"},
			"/v2/rerank", "Bearer " + key, `{"documents":["one","two"],"model":"judge","query":"which?","top_n":2}`,
		},
		{
			"no key, and a slash at the end",
			rerank.Config{BaseURL: "http://127.0.0.1:8000/v1/"},
			[]string{"one"},
			"/v1/rerank", "", `{"documents":["one"],"model":"judge","query":"which?","top_n":1}`,
		},
		{
			"texts",
			rerank.Config{BaseURL: "http://127.0.0.1:8000", Form: rerank.FormTexts},
			[]string{"one", "two"},
			"/rerank", "", `{"query":"which?","texts":["one","two"],"truncate":true}`,
		},
		{
			"long texts are cut, and not within a character",
			rerank.Config{TextBytes: 5},
			[]string{"12345", "1234é", "12\xff456"},
			"/v2/rerank", "", `{"documents":["12345","1234","12` + "\uFFFD" + `"],"model":"judge","query":"which?","top_n":3}`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := embedtest.NewServer(t, said(200, `{"results":[{"index":0,"relevance_score":1}]}`))
			if _, err := open(t, tt.config, s).Rerank(t.Context(), "which?", tt.texts); err != nil {
				t.Fatal(err)
			}
			got := s.Received()
			if len(got) != 1 || got[0].Path != tt.path || got[0].Header.Get("Authorization") != tt.auth || got[0].Body != tt.body {
				t.Errorf("asked %+v\nwant %s of %s with %q", got, tt.body, tt.path, tt.auth)
			}
		})
	}
}

// Answers as they are documented.
func TestAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		body string
		want []int
	}{
		"Cohere":                  {`{"results":[{"index":2,"relevance_score":0.99},{"index":0,"relevance_score":0.3},{"index":1,"relevance_score":0.1}],"id":"x","meta":{"billed_units":{"search_units":1}}}`, []int{2, 0, 1}},
		"Jina, with the texts":    {`{"model":"j","object":"list","usage":{"total_tokens":9},"results":[{"index":1,"relevance_score":0.7,"document":{"text":"b"}},{"index":2,"relevance_score":0.2,"document":"c"},{"index":0,"relevance_score":-0.1}]}`, []int{1, 2, 0}},
		"llama.cpp, in any order": {`{"results":[{"index":0,"relevance_score":-4.2},{"index":1,"relevance_score":3},{"index":2,"relevance_score":-9}]}`, []int{1, 0, 2}},
		"Text Embeddings":         {`[{"index":1,"score":0.9},{"index":0,"score":0.5},{"index":2,"score":0.1}]`, []int{1, 0, 2}},
		"some are left out":       {`{"results":[{"index":2,"relevance_score":0.4}]}`, []int{2, 0, 1}},
		"alike":                   {`{"results":[{"index":2,"relevance_score":0.5},{"index":1,"relevance_score":0.5},{"index":0,"relevance_score":0.5}]}`, []int{0, 1, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := open(t, rerank.Config{}, embedtest.NewServer(t, said(200, tt.body))).Rerank(t.Context(), "q", []string{"a", "b", "c"})
			if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("the order is %v, %v; want %v", got, err, tt.want)
			}
		})
	}
}

func TestNothingIsAsked(t *testing.T) {
	s := embedtest.NewServer(t, said(500, ""))
	if got, err := open(t, rerank.Config{}, s).Rerank(t.Context(), "q", nil); err != nil || got != nil || len(s.Received()) != 0 {
		t.Errorf("of no texts: %v, %v, after %d requests", got, err, len(s.Received()))
	}
}

// What cannot be used says what is wrong, and never the key.
func TestErrors(t *testing.T) {
	for _, tt := range []struct {
		status int
		body   string
		config rerank.Config
		want   string
	}{
		{200, `{}`, rerank.Config{}, "the answer of rank.example cannot be read: it has no results; check the base URL, behind which /rerank is put"},
		{200, `<html>`, rerank.Config{}, "the answer of rank.example cannot be read: invalid character '<'"},
		{200, `{"results":[{"index":3,"relevance_score":1}]}`, rerank.Config{}, "a result with the index 3, of 3 texts"},
		{200, `{"results":[{"index":-1,"relevance_score":1}]}`, rerank.Config{}, "a result with the index -1, of 3 texts"},
		{200, `[{"index":0,"score":1},{"index":0,"score":2}]`, rerank.Config{}, "two results with the index 0"},
		{200, `{"results":[{"relevance_score":1}]}`, rerank.Config{}, "a result has no index or no score"},
		{200, `{"results":[{"index":0}]}`, rerank.Config{}, "a result has no index or no score"},
		{200, `{"results":[{"index":0,"relevance_score":1e999}]}`, rerank.Config{}, "cannot be read"},
		{200, `{"results":"` + strings.Repeat("x", 2<<20) + `"}`, rerank.Config{}, "bytes, which is no list of scores"},
		{401, `{"message":"invalid key ` + key + `"}`, rerank.Config{APIKey: key, APIKeyEnv: "RANK_KEY"}, "rank.example answered 401: it refused the API key; set RANK_KEY to a valid one"},
		{401, ``, rerank.Config{}, "it wants an API key and none is configured; set the variable of the API key"},
		{404, `{"message":"model not found"}`, rerank.Config{}, "rank.example answered 404: model not found; check the model's name, judge, and the base URL"},
		{422, `{"detail":"missing field texts"}`, rerank.Config{}, "answered 422: missing field texts; is the form documents what it takes?"},
		{429, `{"message":"slow down, ` + key + `"}`, rerank.Config{APIKey: key}, "answered 429: slow down, [redacted]"},
		{500, ``, rerank.Config{}, "answered 500: Internal Server Error"},
	} {
		_, err := open(t, tt.config, embedtest.NewServer(t, said(tt.status, tt.body))).Rerank(t.Context(), "q", []string{"a", "b", "c"})
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), key) {
			t.Errorf("%d %.60s: %v\nwant %s", tt.status, tt.body, err, tt.want)
		}
		if refused := tt.status != 200; errors.Is(err, rerank.ErrRefused) != refused || errors.Is(err, rerank.ErrUnanswered) {
			t.Errorf("%d %.60s: %v; is it refused? %v", tt.status, tt.body, err, refused)
		}
	}
}

func TestNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{}}
	r, err := rerank.New(rerank.Config{BaseURL: "http://" + address, Model: "judge", Client: client})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Rerank(t.Context(), "q", []string{"a"}); !errors.Is(err, rerank.ErrUnanswered) || !strings.Contains(err.Error(), "nothing listens at "+address) {
		t.Errorf("%v", err)
	}
}

// A caller that does not wait any longer is told why it did not.
func TestTheCallersTime(t *testing.T) {
	arrived := make(chan struct{})
	s := embedtest.NewServer(t, func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		<-arrived
		cancel(errors.New("that takes too long"))
	}()
	_, err := open(t, rerank.Config{}, s).Rerank(ctx, "q", []string{"a"})
	if err == nil || err.Error() != "rerank 1 texts: that takes too long" {
		t.Errorf("%v", err)
	}
}

func TestBadConfig(t *testing.T) {
	for want, c := range map[string]rerank.Config{
		"the HTTP client is missing":    {BaseURL: "http://x", Model: "m"},
		"the provider needs a base URL": {Model: "m", Client: http.DefaultClient},
		"must not have a user":          {BaseURL: "http://u@x", Model: "m", Client: http.DefaultClient},
		"the model is missing":          {BaseURL: "http://x", Client: http.DefaultClient},
		`the form "yaml" is neither`:    {BaseURL: "http://x", Model: "m", Form: "yaml", Client: http.DefaultClient},
		"a text has at least 4 bytes":   {BaseURL: "http://x", Model: "m", TextBytes: 3, Client: http.DefaultClient},
	} {
		if _, err := rerank.New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// Whatever comes back, an order has each place once.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"results":[{"index":1,"relevance_score":0.5}]}`))
	f.Add([]byte(`[{"index":0,"score":-1},{"index":2,"score":7}]`))
	f.Add([]byte(`{"results":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		s := embedtest.NewInProcess(func(w http.ResponseWriter, _ *http.Request) {
			w.Write(body)
		})
		order, err := open(t, rerank.Config{}, s).Rerank(t.Context(), "q", []string{"a", "b", "c"})
		if err != nil {
			return
		}
		slices.Sort(order)
		if !slices.Equal(order, []int{0, 1, 2}) {
			t.Errorf("%s gives the places %v", body, order)
		}
		if !json.Valid(body) {
			t.Errorf("%q is no JSON, and was taken", body)
		}
	})
}
