package memories_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/memory/embed"
	"github.com/stayd/stayd/internal/memory/keeper"
	"github.com/stayd/stayd/internal/memory/rerank"
)

// secret is what an error says of a provider.
const secret = "rank.internal:8443 said sk-abc; set RANK_KEY"

// away is an embedder that makes no vectors of questions.
type away struct{ embed.Embedder }

func (away) Embed(context.Context, []string) ([][]float32, error) { return nil, errors.New(secret) }

// What a provider fails of is in the log. Callers, also those who act for one actor
// alone, are told of what kind it is.
func TestProvidersAreNotShown(t *testing.T) {
	for want, failure := range map[string]error{
		"The reranker took too long.":              nil, // it waits
		"The reranker did not answer.":             fmt.Errorf("%w: "+secret, rerank.ErrUnanswered),
		"The reranker refused the request.":        fmt.Errorf("%w: "+secret, rerank.ErrRefused),
		"The answer of the reranker is of no use.": errors.New(secret),
	} {
		var log strings.Builder
		w := newWorldOf(t, "ann", func(c *keeper.Config) {
			c.Log = slog.New(slog.NewTextHandler(&log, nil))
			c.Questions = []embed.Embedder{away{c.Embedder}}
			c.Reranking = &keeper.Reranking{Top: 2, Within: time.Millisecond, Rerank: func(ctx context.Context, _ string, _ []string) ([]int, error) {
				if failure != nil {
					return nil, failure
				}
				<-ctx.Done()
				return nil, fmt.Errorf(secret+": %w", context.Cause(ctx))
			}}
		})
		w.keep("The key is red.", "")
		w.keep("The red key is in the box.", "")
		a := w.bound().do("POST", path+"/search", `{"text":"Which key is red?"}`)
		var got struct {
			Data        []object
			WordsOnly   string `json:"words_only"`
			NotReranked string `json:"not_reranked"`
		}
		if err := json.Unmarshal([]byte(a.body), &got); err != nil || len(got.Data) != 2 {
			t.Fatalf("%s: %v", a, err)
		}
		if got.NotReranked != want || got.WordsOnly != "The vector of the question could not be made." {
			t.Errorf("not reranked as %q, by words alone as %q; want %q", got.NotReranked, got.WordsOnly, want)
		}
		for _, part := range []string{"rank.internal", "sk-abc", "RANK_KEY"} {
			if strings.Contains(a.body, part) {
				t.Errorf("%s is in %s", part, a.body)
			}
		}
		if n := strings.Count(log.String(), secret); n != 2 {
			t.Errorf("the log has %d errors, want two: %s", n, log.String())
		}
	}
}
