package app_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stayd/stayd/internal/app"
	"github.com/stayd/stayd/internal/memory/embed/embedtest"
)

// models writes a models file whose provider vectors is at the URL.
func models(t *testing.T, url string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "models.yaml")
	text := "providers: {vectors: {type: openai_chat, base_url: " + url + "/v1}}\nmodels: {vectors/topics: {id: the-topics}}\n"
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestBadEmbedders(t *testing.T) {
	t.Setenv("OPENAI_API_KEY", "")
	t.Setenv("ANTHROPIC_API_KEY", "k")
	t.Setenv("AWS_REGION", "us-east-1")
	for _, tt := range []struct {
		embedders []string
		want      string
	}{
		{[]string{"words"}, `configuration: memory-embedder "words": it is neither static, none nor PROVIDER/MODEL as in ollama/nomic-embed-text`},
		{[]string{"none", "static"}, `configuration: memory-embedder "none": none stands alone`},
		{[]string{"static?dimension=1"}, `configuration: memory-embedder "static?dimension=1": it is neither static, none nor PROVIDER/MODEL as in ollama/nomic-embed-text`},
		{[]string{"ollama/m?dims=1"}, `configuration: memory-embedder "ollama/m?dims=1": there is no option "dims"; there are dimension, shorten, text-bytes and batch-texts`},
		{[]string{"ollama/m?dimension=many"}, `configuration: memory-embedder "ollama/m?dimension=many": dimension "many" is not a number from 1 up`},
		{[]string{"ollama/m?shorten=1"}, `configuration: memory-embedder "ollama/m?shorten=1": shorten is true or false, not "1"`},
		{[]string{"ollama/m?%zz"}, `configuration: memory-embedder "ollama/m?%zz": what follows the ? are options as in dimension=512&text-bytes=2000`},
		{[]string{"static", "static"}, `configuration: memory-embedder "static" is there twice`},
		{[]string{"ollama/m"}, `memory-embedder ollama/m: openai embeddings: the dimension of the model m is not known here; set it to what the model's description says`},
		{[]string{"static", "ollama/nomic-embed-text?dimension=5"}, `memory-embedder ollama/nomic-embed-text?dimension=5: openai embeddings: the model nomic-embed-text has vectors of dimension 768, not 5`},
		{[]string{"openai/text-embedding-3-small"}, `memory-embedder openai/text-embedding-3-small: authentication_error: the model "openai/text-embedding-3-small" cannot be used: set the environment variable OPENAI_API_KEY, or name another one as api_key_env of the provider openai in the models file`},
		{[]string{"anthropic/claude"}, `memory-embedder anthropic/claude: providers of the type anthropic make no vectors here; those of the types openai, openai_chat and bedrock do`},
		{[]string{"bedrock/amazon.titan-embed-text-v2:0?dimension=100"}, `memory-embedder bedrock/amazon.titan-embed-text-v2:0?dimension=100: bedrock embeddings: the model amazon.titan-embed-text-v2:0 has no vectors of dimension 100; it has 1024, 512, 256`},
		{[]string{"bedrock/cohere.embed-v4:0?shorten=true"}, `memory-embedder bedrock/cohere.embed-v4:0?shorten=true: of a model of Bedrock only the dimension can be chosen`},
	} {
		cfg := config(t)
		cfg.Embedders = tt.embedders
		a, err := app.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
		if err == nil {
			t.Errorf("%q: no error, and on closing %v", tt.embedders, a.Close(t.Context()))
		} else if err.Error() != tt.want {
			t.Errorf("%q: %v\nwant %s", tt.embedders, err, tt.want)
		}
	}
}

// topics stands for a model that knows what a text is about.
var topics = [][]string{{"dog", "puppy", "canine"}, {"cat", "kitten", "feline"}, {"lorry", "vehicle"}}

func topic(text string) []float32 {
	v := make([]float32, len(topics)+1)
	v[len(topics)] = 0.1
	for i, words := range topics {
		for _, w := range words {
			if strings.Contains(text, w) {
				v[i] = 1
			}
		}
	}
	return v
}

func answerTopics(w http.ResponseWriter, r *http.Request) {
	var asked struct{ Input []string }
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var data []map[string]any
	for i, text := range asked.Input {
		data = append(data, map[string]any{"index": i, "embedding": topic(text)})
	}
	embedtest.Write(w, map[string]any{"data": data})
}

// found asks for three memories.
func (n *node) found(query string) (texts []string) {
	n.t.Helper()
	var out struct {
		Data []struct{ Text string }
	}
	n.must(&out, "POST", "/v1/memories/search", `{"namespaces":["/actors/ann"],"text":"`+query+`","limit":3}`)
	for _, hit := range out.Data {
		texts = append(texts, hit.Text)
	}
	return texts
}

// vectors counts memories by what made their vectors.
func (n *node) vectors() string {
	n.t.Helper()
	count := map[string]int{}
	for _, m := range all[struct {
		Model string `json:"vector_model"`
	}](n, "/v1/memories?limit=100") {
		count[m.Model]++
	}
	return fmt.Sprint(count)
}

// A server that gets another embedder makes all vectors anew, through a restart,
// while those of the one before serve.
func TestEmbedderIsChanged(t *testing.T) {
	cfg := config(t)
	n := start(t, cfg)
	write := func(text string) {
		n.must(nil, "POST", "/v1/memories", `{"namespace":"/actors/ann/facts","strategy":"semantic","text":"`+text+`"}`)
	}
	write("Tom, the kitten, sleeps.")
	for i := range 300 {
		write(fmt.Sprintf("Number %d is a prime or it is not.", i))
	}
	if got := n.vectors(); got != "map[static/1@100:301]" {
		t.Fatalf("vectors are of %s", got)
	}
	n.stop()

	// The endpoint makes 256 vectors of memories, and then nothing until it may.
	var made atomic.Int64
	may := make(chan struct{})
	s := embedtest.NewServer(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if records := bytes.Count(body, []byte("prime")); records > 0 && made.Add(int64(records)) > 256 {
			select {
			case <-may:
			case <-r.Context().Done():
				return
			}
		}
		answerTopics(w, r)
	})
	cfg.Models, cfg.Embedders = models(t, s.URL), []string{"vectors/topics?dimension=4"}
	n = start(t, cfg)
	wait(t, "256 vectors", func() bool { return n.vectors() == "map[openai/the-topics@4:256 static/1@100:45]" })
	for question, text := range map[string]string{"feline": "Tom, the kitten, sleeps.", "299": "Number 299 is a prime or it is not."} {
		if got := n.found(question); !slices.Contains(got, text) {
			t.Errorf("%q found %q, want %q", question, got, text)
		}
	}
	n.stop()

	close(may)
	n = start(t, cfg)
	wait(t, "all vectors", func() bool { return n.vectors() == "map[openai/the-topics@4:301]" })
	write("Bruno, the puppy, barks.")
	wait(t, "one more vector", func() bool { return n.vectors() == "map[openai/the-topics@4:302]" })
	for question, text := range map[string]string{"feline": "Tom, the kitten, sleeps.", "canine": "Bruno, the puppy, barks."} {
		if got := n.found(question); !slices.Contains(got, text) {
			t.Errorf("%q found %q, want %q", question, got, text)
		}
	}
	if body := s.Received()[0].Body; !strings.Contains(body, `"model":"the-topics"`) {
		t.Errorf("the endpoint was asked %.200s", body)
	}
}

// Without vectors memories are searched by their words.
func TestNoEmbedder(t *testing.T) {
	cfg := config(t)
	cfg.Embedders = []string{"none"}
	n := start(t, cfg)
	n.must(nil, "POST", "/v1/memories", `{"namespace":"/actors/ann/facts","strategy":"semantic","text":"Tom, the kitten, sleeps."}`)
	if got := n.found("kitten"); !slices.Equal(got, []string{"Tom, the kitten, sleeps."}) {
		t.Errorf("found %q", got)
	}
	if got := n.vectors(); got != "map[:1]" {
		t.Errorf("vectors are of %s", got)
	}
}
