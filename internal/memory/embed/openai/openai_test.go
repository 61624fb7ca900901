package openai_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/stayd/stayd/internal/memory/embed"
	"github.com/stayd/stayd/internal/memory/embed/embedtest"
	"github.com/stayd/stayd/internal/memory/embed/openai"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const key = "sk-verysecret"

func open(t *testing.T, c openai.Config, s *embedtest.Server) *openai.Embedder {
	t.Helper()
	c.Client = s.Client
	e, err := openai.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// answer gives each text its vector, in the order from the last to the first. It
// refuses what OpenAI does.
func answer(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Input      []string
		Dimensions int
	}
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || len(asked.Input) == 0 || len(asked.Input) > 128 || slices.Contains(asked.Input, "") {
		http.Error(w, `{"error":{"message":"'$.input' is invalid."}}`, http.StatusBadRequest)
		return
	}
	type datum struct {
		Object    string    `json:"object"`
		Index     int       `json:"index"`
		Embedding []float32 `json:"embedding"`
	}
	var data []datum
	for i, text := range slices.Backward(asked.Input) {
		data = append(data, datum{"embedding", i, embedtest.Vector(text, max(asked.Dimensions, 8))})
	}
	embedtest.Write(w, map[string]any{"object": "list", "data": data, "model": "m"})
}

func said(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Should-Retry", "false")
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

func TestSuite(t *testing.T) {
	embedtest.Run(t, func(t *testing.T) embed.Embedder {
		return open(t, openai.Config{Model: "any", Dimensions: 8, TextBytes: 200}, embedtest.NewServer(t, answer))
	})
}

func TestRequests(t *testing.T) {
	// What the SDK reads of the environment is not meant for this endpoint.
	t.Setenv("OPENAI_API_KEY", "sk-of-the-environment")
	t.Setenv("OPENAI_BASE_URL", "http://elsewhere.example")
	for _, tt := range []struct {
		name   string
		config openai.Config
		path   string
		key    string
		bodies []string
	}{
		{
			"as little as possible",
			openai.Config{Model: "any", Dimensions: 8},
			"/v1/embeddings", "",
			[]string{`{"input":["one","two three"],"model":"any"}`},
		},
		{
			"a key, another path",
			openai.Config{BaseURL: "http://h:1/deep/v2", Model: "any", Dimensions: 8, APIKey: key},
			"/deep/v2/embeddings", "Bearer " + key,
			[]string{`{"input":["one","two three"],"model":"any"}`},
		},
		{
			"a shorter vector",
			openai.Config{Model: "text-embedding-3-small", Dimensions: 256},
			"/v1/embeddings", "",
			[]string{`{"input":["one","two three"],"model":"text-embedding-3-small","dimensions":256}`},
		},
		{
			"the whole vector",
			openai.Config{Model: "any", Dimensions: 16, Shorten: true},
			"/v1/embeddings", "",
			[]string{`{"input":["one","two three"],"model":"any","dimensions":16}`},
		},
		{
			"one text a request",
			openai.Config{Model: "any", Dimensions: 8, BatchTexts: 1, TextBytes: 5},
			"/v1/embeddings", "",
			[]string{`{"input":["one"],"model":"any"}`, `{"input":["three"],"model":"any"}`, `{"input":["two"],"model":"any"}`},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := embedtest.NewServer(t, answer)
			if _, err := open(t, tt.config, s).Embed(t.Context(), []string{"one", "two three"}); err != nil {
				t.Fatal(err)
			}
			var bodies []string
			for _, r := range s.Received() {
				bodies = append(bodies, r.Body)
				if r.Path != tt.path || r.Header.Get("Authorization") != tt.key {
					t.Errorf("%s with the key %q, want %s and %q", r.Path, r.Header.Get("Authorization"), tt.path, tt.key)
				}
			}
			slices.Sort(bodies) // two may be under way at once
			for i, body := range bodies {
				if i >= len(tt.bodies) || !equalJSON(t, body, tt.bodies[i]) {
					t.Errorf("%d of %d requests: %s, want %v", i+1, len(bodies), body, tt.bodies)
				}
			}
		})
	}
}

func equalJSON(t *testing.T, a, b string) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal([]byte(a), &x); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(b), &y); err != nil {
		t.Fatal(err)
	}
	return cmp.Equal(x, y)
}

func TestModel(t *testing.T) {
	for want, c := range map[string]openai.Config{
		"openai/text-embedding-3-small@1536":  {Model: "text-embedding-3-small"},
		"openai/text-embedding-3-large@256":   {Model: "text-embedding-3-large", Dimensions: 256},
		"openai/nomic-embed-text:latest@768":  {Model: "nomic-embed-text:latest"},
		"openai/mxbai-embed-large@512":        {Model: "mxbai-embed-large", Dimensions: 512, Shorten: true},
		"openai/Qwen/Qwen3-Embedding-8B@4096": {Model: "Qwen/Qwen3-Embedding-8B", Dimensions: 4096},
	} {
		if got := open(t, c, embedtest.NewInProcess(answer)).Model(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestBadConfiguration(t *testing.T) {
	for want, c := range map[string]openai.Config{
		"openai embeddings: the model is missing, as in text-embedding-3-small or nomic-embed-text":                        {},
		"openai embeddings: the dimension of the model any is not known here; set it to what the model's description says": {Model: "any"},
		"openai embeddings: -1 is no dimension":                                                                    {Model: "any", Dimensions: -1},
		"openai embeddings: the model nomic-embed-text has vectors of dimension 768, not 512":                      {Model: "nomic-embed-text", Dimensions: 512},
		"openai embeddings: the model text-embedding-3-small has vectors of dimension 1536, not 3072":              {Model: "text-embedding-3-small", Dimensions: 3072},
		"openai embeddings: the base URL must be an absolute http or https URL":                                    {BaseURL: "127.0.0.1:11434/v1", Model: "any", Dimensions: 1},
		"openai embeddings: the base URL must not have a user, a query or a fragment; a key goes into the API key": {BaseURL: "https://me:" + key + "@h/v1", Model: "any", Dimensions: 1},
		"openai embeddings: a request has at least one text, and a text at least 4 bytes":                          {Model: "any", Dimensions: 1, TextBytes: 3},
		"openai embeddings: a request has at least one text, and a text at least 4 bytes (BatchTexts)":             {Model: "any", Dimensions: 1, BatchTexts: -1},
	} {
		c.Client = http.DefaultClient
		want, _, _ = strings.Cut(want, " (")
		if _, err := openai.New(c); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := openai.New(openai.Config{Model: "any", Dimensions: 1}); err == nil || err.Error() != "openai embeddings: the HTTP client is missing" {
		t.Errorf("without a client: %v", err)
	}
}

func TestErrors(t *testing.T) {
	local := openai.Config{BaseURL: "http://localhost:11434/v1", Model: "nomic-embed-text"}
	hosted := openai.Config{Model: "text-embedding-3-small", APIKey: key}
	for _, tt := range []struct {
		name   string
		config openai.Config
		status int
		body   string
		want   string
	}{
		{"a wrong key", hosted, 401, `{"error":{"message":"Incorrect API key provided: sk-very*****ret."}}`, "api.openai.com answered 401: it refused the API key; set OPENAI_API_KEY to a valid one"},
		{"no key", openai.Config{BaseURL: "https://h/v1", Model: "m", Dimensions: 1, APIKeyEnv: "TEAM_KEY"}, 401, `{}`, "h answered 401: it wants an API key and none is configured; set TEAM_KEY"},
		{"a key that may not", hosted, 403, `{"error":{"message":"Project has no access, ` + key + `"}}`, "api.openai.com answered 403: Project has no access, [redacted]; the API key in OPENAI_API_KEY must be allowed to use the model text-embedding-3-small"},
		{"no such model", local, 404, `{"error":{"message":"model \"nomic-embed-text\" not found, try pulling it first"}}`, `localhost:11434 answered 404: model "nomic-embed-text" not found, try pulling it first; check the model's name, nomic-embed-text (with Ollama: ollama pull nomic-embed-text), and the base URL`},
		{"no such page", local, 404, `404 page not found`, "localhost:11434 answered 404: Not Found; check the model's name, nomic-embed-text (with Ollama: ollama pull nomic-embed-text), and the base URL"},
		{"a text that is too long", local, 400, `{"error":"the input length exceeds the context length"}`, "localhost:11434 answered 400: the input length exceeds the context length; a text may be too long for the model: set fewer bytes a text than 8000, or fewer texts a request than 128"},
		{"a body that is too long", local, 413, ``, "localhost:11434 answered 413: Request Entity Too Large; a text may be too long for the model: set fewer bytes a text than 8000, or fewer texts a request than 128"},
		{"too many requests", hosted, 429, `{"error":{"message":"Rate limit reached"}}`, "api.openai.com answered 429, after retries: Rate limit reached; wait, or raise the account's limits"},
		{"a broken server", hosted, 500, `<html>`, "api.openai.com answered 500: Internal Server Error"},
		{"another page", hosted, 200, `<html>`, "the answer of api.openai.com cannot be read: invalid character '<' looking for beginning of value; check the base URL, which ends with the version as in /v1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fails(t, open(t, tt.config, embedtest.NewServer(t, said(tt.status, tt.body))), tt.want)
		})
	}
}

// fails asks for two vectors and wants the error.
func fails(t *testing.T, e *openai.Embedder, want string) {
	t.Helper()
	got, err := e.Embed(t.Context(), []string{"one", "two"})
	if got != nil || err == nil {
		t.Fatalf("%v and %v", got, err)
	}
	if want = "embed 2 texts: " + want; err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
	if strings.Contains(err.Error(), key) {
		t.Errorf("the key is in %v", err)
	}
}

func TestAnswersThatAreNoVectors(t *testing.T) {
	const unreadable = "the answer of h cannot be read: %s; check the base URL, which ends with the version as in /v1"
	for body, want := range map[string]string{
		`{"data":[{"index":0,"embedding":[1,2]},{"index":1,"embedding":[1,null]}]}`:  fmt.Sprintf(unreadable, "a vector has null in it, where numbers are expected"),
		`{"data":[{"index":0,"embedding":[1,2]},{"index":1,"embedding":null}]}`:      fmt.Sprintf(unreadable, "a vector has null in it, where numbers are expected"),
		`{"data":[{"index":0,"embedding":[1,NaN]}]}`:                                 fmt.Sprintf(unreadable, "invalid character 'N' looking for beginning of value"),
		`{"data":[{"index":0,"embedding":[1,2]},{"index":0,"embedding":[1,2]}]}`:     fmt.Sprintf(unreadable, "it has 2 vectors, and index 0 twice or out of range"),
		`{"data":[{"index":0,"embedding":[1,2]},{"index":2,"embedding":[1,2]}]}`:     fmt.Sprintf(unreadable, "it has 2 vectors, and index 2 twice or out of range"),
		`{"data":[{"index":0,"embedding":[1,2]},{"index":1}]}`:                       fmt.Sprintf(unreadable, "vector 1 is missing"),
		`{"data":[{"index":0,"embedding":[1,2]}]}`:                                   "the endpoint returned 1 vectors for 2 texts",
		`{"data":[{"index":0,"embedding":[1,2]},{"index":1,"embedding":[1,2,3]}]}`:   "the endpoint returned vectors of dimension 3, not 2; set the dimension to what the model has",
		`{"data":[{"index":0,"embedding":"AACAPw=="},{"index":1,"embedding":"AA"}]}`: fmt.Sprintf(unreadable, "a vector is no list of numbers: json: cannot unmarshal string into Go value of type []float32"),
		`{"embeddings":[[1,2],[1,2]]}`:                                               "the endpoint returned 0 vectors for 2 texts",
		strings.Repeat(" ", 8<<20):                                                   "h answered with more than 7200768 bytes, which is no list of vectors; check the base URL",
	} {
		s := embedtest.NewServer(t, said(http.StatusOK, body))
		fails(t, open(t, openai.Config{BaseURL: "http://h/v1", Model: "any", Dimensions: 2}, s), want)
	}
}

// A server that leaves the index out keeps the order.
func TestAnswerWithoutIndex(t *testing.T) {
	s := embedtest.NewServer(t, said(http.StatusOK, `{"data":[{"embedding":[2,0]},{"embedding":[0,-3]}]}`))
	got, err := open(t, openai.Config{Model: "any", Dimensions: 2}, s).Embed(t.Context(), []string{"one", "two"})
	if diff := cmp.Diff([][]float32{{1, 0}, {0, -1}}, got); err != nil || diff != "" {
		t.Errorf("%v: %s", err, diff)
	}
}

func TestRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		s := embedtest.NewInProcess(func(w http.ResponseWriter, r *http.Request) {
			if asked++; asked < 3 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			answer(w, r)
		})
		got, err := open(t, openai.Config{Model: "any", Dimensions: 8}, s).Embed(t.Context(), []string{"one"})
		if err != nil || len(got) != 1 || len(s.Received()) != 3 {
			t.Errorf("%v after %d requests: %v", got, len(s.Received()), err)
		}
	})
}

func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedtest.NewInProcess(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		fails(t, open(t, openai.Config{Model: "any", Dimensions: 8}, s), "the endpoint did not answer within 2m0s")
	})
}

type broken struct{ err error }

func (b broken) RoundTrip(*http.Request) (*http.Response, error) { return nil, b.err }

func TestNothingListens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
		s := &embedtest.Server{Client: &http.Client{Transport: broken{refused}}}
		fails(t, open(t, openai.Config{BaseURL: "http://127.0.0.1:11434/v1", Model: "any", Dimensions: 8}, s),
			"nothing listens at 127.0.0.1:11434; is Ollama, or what else should serve the model there, running? (connection refused)")
		fails(t, open(t, openai.Config{BaseURL: "http://h/v1", Model: "any", Dimensions: 8, APIKey: key}, s),
			"the connection to h failed: dial tcp: connect: connection refused; check the base URL")
	})
}
