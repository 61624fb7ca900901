package memories

import (
	"context"
	"errors"
	"time"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/keeper"
	"github.com/stayd/stayd/internal/memory/rerank"
)

// MemoryObject is a memory on the wire. Times are in RFC 3339, null where there
// is none.
type MemoryObject struct {
	ID           string            `json:"id"`
	Object       string            `json:"object" enum:"memory"`
	Namespace    string            `json:"namespace"`
	Strategy     string            `json:"strategy" enum:"turn,semantic,preference,summary,episodic,core"`
	Actor        *string           `json:"actor" doc:"Whom it is about."`
	Text         string            `json:"text"`
	Origin       string            `json:"origin" enum:"client,user,agent,other,tool" doc:"Whose words it rests on."`
	Foreign      bool              `json:"foreign" doc:"It rests on the words of a tool or of somebody else."`
	Confidence   *float64          `json:"confidence"`
	Metadata     map[string]string `json:"metadata"`
	Source       memory.Source     `json:"source"`
	ValidFrom    *time.Time        `json:"valid_from" doc:"Since when it is true."`
	ValidTo      *time.Time        `json:"valid_to" doc:"Until when it is true."`
	RecordedAt   time.Time         `json:"recorded_at" doc:"Since when it is known."`
	SupersededAt *time.Time        `json:"superseded_at" doc:"Since when it is not believed any more."`
	SupersededBy *string           `json:"superseded_by"`
	Supersedes   *string           `json:"supersedes"`
	ExpiresAt    *time.Time        `json:"expires_at"`
	VectorModel  *string           `json:"vector_model"`
	Uses         int64             `json:"uses" doc:"How many answers of agents cited it, about."`
	UsedAt       *time.Time        `json:"used_at" doc:"When one last did."`
}

type hitObject struct {
	MemoryObject
	Score    float64 `json:"score" doc:"Higher is better. Scores of different searches do not compare."`
	Citation int     `json:"citation" doc:"The number by which the context cites it."`
}

type searchObject struct {
	Object        string      `json:"object" enum:"memory.search_result"`
	Data          []hitObject `json:"data"`
	Context       string      `json:"context" doc:"What was found in words for a model, each with its number."`
	ContextTokens int         `json:"context_tokens" doc:"The size of the context, about."`
	WordsOnly     string      `json:"words_only,omitempty" doc:"Why the question was searched by words alone, where it was."`
	NotReranked   string      `json:"not_reranked,omitempty" doc:"Why what was found was not reranked, where it was to be."`
}

// renderFound leaves out what errors say of providers: where they are, by which key
// they are asked and what they answered is for who runs the server, and in the log.
func renderFound(f *keeper.Found) searchObject {
	out := searchObject{
		Object: "memory.search_result", Data: make([]hitObject, len(f.Hits)), Context: f.Context, ContextTokens: f.Tokens,
		NotReranked: notReranked(f.NotReranked),
	}
	if f.WordsOnly != "" {
		out.WordsOnly = "The vector of the question could not be made."
	}
	for i := range f.Hits {
		out.Data[i] = hitObject{MemoryObject: render(&f.Hits[i].Record), Score: f.Hits[i].Score, Citation: i + 1}
	}
	return out
}

func notReranked(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, context.DeadlineExceeded):
		return "The reranker took too long."
	case errors.Is(err, rerank.ErrUnanswered):
		return "The reranker did not answer."
	case errors.Is(err, rerank.ErrRefused):
		return "The reranker refused the request."
	}
	return "The answer of the reranker is of no use."
}

func render(r *memory.Record) MemoryObject {
	o := MemoryObject{
		ID: r.ID, Object: "memory", Namespace: r.Namespace, Strategy: string(r.Strategy), Actor: orNull(r.Actor), Text: r.Text,
		Origin: string(r.Origin), Foreign: r.Origin.Foreign(), Metadata: r.Metadata, Source: r.Source,
		ValidFrom: orNull(r.ValidFrom), ValidTo: orNull(r.ValidTo), RecordedAt: r.RecordedAt, SupersededAt: orNull(r.SupersededAt),
		SupersededBy: orNull(r.SupersededBy), Supersedes: orNull(r.Supersedes), ExpiresAt: orNull(r.ExpiresAt),
		Confidence: orNull(r.Confidence), VectorModel: orNull(r.VectorModel), Uses: r.Uses, UsedAt: orNull(r.UsedAt),
	}
	if o.Metadata == nil {
		o.Metadata = map[string]string{}
	}
	return o
}

func renderAll(records []memory.Record) []MemoryObject {
	out := make([]MemoryObject, len(records))
	for i := range records {
		out[i] = render(&records[i])
	}
	return out
}

// orNull is a pointer to v, or nil for the zero value.
func orNull[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}
