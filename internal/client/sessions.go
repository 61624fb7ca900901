package client

import (
	"context"
	"iter"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

// SessionQuery selects sessions.
type SessionQuery struct {
	ForkedFrom string // only forks of this session; empty selects all
	Limit      int    // how many at most; 0 is all
}

// pageOfSessions is how many sessions are asked for at a time.
const pageOfSessions = 100

// Sessions returns sessions, the newest first. An error is the last of what it
// returns.
func (c *Client) Sessions(ctx context.Context, q SessionQuery) iter.Seq2[openai.AgentSession, error] {
	params := openai.BetaAgentSessionListParams{Limit: openai.Int(pageOfSessions)}
	if q.Limit > 0 {
		params.Limit = openai.Int(int64(min(q.Limit, pageOfSessions)))
	}
	var opts []option.RequestOption
	if q.ForkedFrom != "" {
		opts = append(opts, option.WithQuery("forked_from", q.ForkedFrom))
	}
	return func(yield func(openai.AgentSession, error) bool) {
		pages := c.SDK.Beta.Agents.Sessions.ListAutoPaging(ctx, params, opts...)
		for n := 0; (q.Limit == 0 || n < q.Limit) && pages.Next(); n++ {
			if !yield(pages.Current(), nil) {
				return
			}
		}
		if err := pages.Err(); err != nil {
			yield(openai.AgentSession{}, err)
		}
	}
}
