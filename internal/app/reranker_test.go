package app_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stayd/stayd/internal/app"
	"github.com/stayd/stayd/internal/memory/embed/embedtest"
)

func TestBadRerankers(t *testing.T) {
	t.Setenv("OPENAI_API_KEY", "")
	t.Setenv("ANTHROPIC_API_KEY", "k")
	for reranker, want := range map[string]string{
		"judge":                   `configuration: memory-reranker "judge": it is not PROVIDER/MODEL as in cohere/rerank-v3.5`,
		"ollama/m?top=1":          `configuration: memory-reranker "ollama/m?top=1": top "1" is not a number from 2 to 200`,
		"ollama/m?timeout=1":      `configuration: memory-reranker "ollama/m?timeout=1": timeout "1" is not a time as in 500ms or 2s`,
		"ollama/m?timeout=-1s":    `configuration: memory-reranker "ollama/m?timeout=-1s": timeout "-1s" is not a time as in 500ms or 2s`,
		"ollama/m?text-bytes=few": `configuration: memory-reranker "ollama/m?text-bytes=few": text-bytes "few" is not a number from 1 up`,
		"ollama/m?form=yaml":      `configuration: memory-reranker "ollama/m?form=yaml": form is documents or texts, not "yaml"`,
		"ollama/m?dimension=3":    `configuration: memory-reranker "ollama/m?dimension=3": there is no option "dimension"; there are top, timeout, text-bytes and form`,
		"ollama/m?%zz":            `configuration: memory-reranker "ollama/m?%zz": what follows the ? are options as in top=30&timeout=500ms`,
		"ollama/m?text-bytes=3":   `memory-reranker ollama/m?text-bytes=3: rerank: a text has at least 4 bytes`,
		"anthropic/claude":        `memory-reranker anthropic/claude: providers of the type anthropic rerank nothing here; those of the types openai and openai_chat do`,
		"nobody/nothing":          `memory-reranker nobody/nothing: `,
	} {
		cfg := config(t)
		cfg.Reranker = reranker
		a, err := app.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
		if err == nil {
			t.Errorf("%q: no error, and on closing %v", reranker, a.Close(t.Context()))
		} else if !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v\nwant %s", reranker, err, want)
		}
	}
}

// A server with a reranker shows it what was found, and answers in its order; one
// whose reranker is away answers in its own, and says so.
func TestReranker(t *testing.T) {
	var away atomic.Bool
	s := embedtest.NewServer(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var asked struct {
			Model     string
			Documents []string
		}
		if away.Load() || err != nil || json.Unmarshal(body, &asked) != nil || asked.Model != "the-topics" {
			http.Error(w, `{"message":"not now"}`, http.StatusServiceUnavailable)
			return
		}
		var results []map[string]any
		for i, text := range asked.Documents {
			results = append(results, map[string]any{"index": i, "relevance_score": topic(text)[0]})
		}
		embedtest.Write(w, map[string]any{"results": results})
	})
	cfg := config(t)
	cfg.Models, cfg.Reranker = models(t, s.URL), "vectors/topics?top=10&timeout=1m"
	n := start(t, cfg)
	for _, text := range []string{"The animal in the garden is a rabbit.", "The garden has roses.", "The puppy digs."} {
		n.must(nil, "POST", "/v1/memories", `{"namespace":"/actors/ann/facts","strategy":"semantic","text":"`+text+`"}`)
	}
	search := func() (texts []string, why string) {
		var found struct {
			Data        []struct{ Text string }
			NotReranked string `json:"not_reranked"`
		}
		n.must(&found, "POST", "/v1/memories/search", `{"namespaces":["/actors/ann"],"text":"Which animal digs in the garden?","limit":3}`)
		for _, d := range found.Data {
			texts = append(texts, d.Text)
		}
		return texts, found.NotReranked
	}
	reranked, why := search()
	if len(reranked) != 3 || reranked[0] != "The puppy digs." || why != "" {
		t.Errorf("reranked: %q, %q", reranked, why)
	}
	away.Store(true)
	plain, why := search()
	if len(plain) != 3 || slices.Equal(plain, reranked) || why != "The reranker refused the request." {
		t.Errorf("not reranked: %q, %q", plain, why)
	}
	if got := s.Received(); len(got) != 2 || got[0].Path != "/v1/rerank" {
		t.Errorf("the endpoint was asked %d times, first at %s", len(got), got[0].Path)
	}
	if a := n.do("GET", "/metrics", ""); !strings.Contains(a.body, `stayd_outbound_requests_total{status="503",use="reranker"} 1`) {
		t.Errorf("the metrics do not count it: %s", a.body)
	}
}
