package client

import (
	"context"
	"encoding/json"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const memoriesPath = "/v1/memories"

func memoryPath(id, rest string) string { return memoriesPath + "/" + url.PathEscape(id) + rest }

// Memory is one thing that is known. A zero time is none.
type Memory struct {
	ID         string            `json:"id"`
	Namespace  string            `json:"namespace"`
	Strategy   string            `json:"strategy"` // turn, semantic, preference, summary, episodic, core
	Actor      string            `json:"actor"`    // whom it is about
	Text       string            `json:"text"`
	Origin     string            `json:"origin"`  // client, user, agent, other, tool
	Foreign    bool              `json:"foreign"` // the words of a tool or of somebody else
	Confidence float64           `json:"confidence"`
	Metadata   map[string]string `json:"metadata"`
	Source     MemorySource      `json:"source"`

	ValidFrom    time.Time `json:"valid_from"`
	ValidTo      time.Time `json:"valid_to"`
	RecordedAt   time.Time `json:"recorded_at"`
	SupersededAt time.Time `json:"superseded_at"`
	SupersededBy string    `json:"superseded_by"`
	Supersedes   string    `json:"supersedes"`
	ExpiresAt    time.Time `json:"expires_at"`
	VectorModel  string    `json:"vector_model"`
	Uses         int64     `json:"uses"` // how many answers of agents cited it, about
	UsedAt       time.Time `json:"used_at"`

	// Of a memory that a search found: a higher score is better, and Citation is the
	// number by which the context cites it.
	Score    float64 `json:"score"`
	Citation int     `json:"citation"`

	raw string
}

// MemorySource says what a memory was drawn from.
type MemorySource struct {
	SessionID string   `json:"session_id,omitzero"`
	TurnID    string   `json:"turn_id,omitzero"`
	ItemIDs   []string `json:"item_ids,omitzero"`
	MemoryIDs []string `json:"memory_ids,omitzero"`
	Speaker   string   `json:"speaker,omitzero"`
	Position  int64    `json:"position,omitzero"`
	Label     string   `json:"label,omitzero"`
	External  string   `json:"external,omitzero"`
	Model     string   `json:"model,omitzero"`  // only read
	Prompt    string   `json:"prompt,omitzero"` // only read
}

// RawJSON is the memory as the server sent it.
func (m *Memory) RawJSON() string { return m.raw }

// UnmarshalJSON decodes a memory.
func (m *Memory) UnmarshalJSON(data []byte) error {
	type plain Memory
	if err := json.Unmarshal(data, (*plain)(m)); err != nil {
		return err
	}
	m.raw = string(data)
	return nil
}

// NewMemory is a memory that is to be written. Times are dates, or times in
// RFC 3339. What is empty gets its default; Namespace or Actor is given.
type NewMemory struct {
	Text       string            `json:"text"`
	Namespace  string            `json:"namespace,omitzero"`
	Strategy   string            `json:"strategy,omitzero"`
	Actor      string            `json:"actor,omitzero"`
	Origin     string            `json:"origin,omitzero"`
	Confidence float64           `json:"confidence,omitzero"`
	Metadata   map[string]string `json:"metadata,omitzero"`
	ValidFrom  string            `json:"valid_from,omitzero"`
	ValidTo    string            `json:"valid_to,omitzero"`
	ExpiresAt  string            `json:"expires_at,omitzero"`
	Source     MemorySource      `json:"source,omitzero"`
}

// AddMemory writes a memory.
func (c *Client) AddMemory(ctx context.Context, n NewMemory) (*Memory, error) {
	m := &Memory{}
	return m, c.Do(ctx, http.MethodPost, memoriesPath, n, m)
}

// Memory returns a memory by its id.
func (c *Client) Memory(ctx context.Context, id string) (*Memory, error) {
	m := &Memory{}
	return m, c.Do(ctx, http.MethodGet, memoryPath(id, ""), nil, m)
}

// MemoryChange is what a newer version of a memory says otherwise. What is nil
// stays.
type MemoryChange struct {
	Text       *string           `json:"text,omitzero"`
	Metadata   map[string]string `json:"metadata,omitzero"`
	ValidFrom  *string           `json:"valid_from,omitzero"`
	ValidTo    *string           `json:"valid_to,omitzero"`
	Confidence *float64          `json:"confidence,omitzero"`
}

// UpdateMemory supersedes a memory by a newer version, which it returns.
func (c *Client) UpdateMemory(ctx context.Context, id string, change MemoryChange) (*Memory, error) {
	m := &Memory{}
	return m, c.Do(ctx, http.MethodPost, memoryPath(id, ""), change, m)
}

// MemoryHistory returns all versions of a memory, the oldest first.
func (c *Client) MemoryHistory(ctx context.Context, id string) ([]Memory, error) {
	var page struct {
		Data []Memory `json:"data"`
	}
	err := c.Do(ctx, http.MethodGet, memoryPath(id, "/history"), nil, &page)
	return page.Data, err
}

// MemoryFilter selects memories. Its zero value selects all that are believed.
type MemoryFilter struct {
	Namespace  string // prefix
	Strategy   string
	Actor      string
	SessionID  string
	Metadata   map[string]string // all pairs must match
	Superseded bool              // also what was replaced
}

func (f *MemoryFilter) query() url.Values {
	q := url.Values{}
	for name, v := range map[string]string{"namespace": f.Namespace, "strategy": f.Strategy, "actor": f.Actor, "session_id": f.SessionID} {
		if v != "" {
			q.Set(name, v)
		}
	}
	for k, v := range f.Metadata {
		q.Set("metadata["+k+"]", v)
	}
	if f.Superseded {
		q.Set("superseded", "true")
	}
	return q
}

// Memories returns memories, the newest first. An error is the last of what it
// returns.
func (c *Client) Memories(ctx context.Context, f MemoryFilter) iter.Seq2[Memory, error] {
	return pages(ctx, c, memoriesPath, f.query(), func(m *Memory) string { return m.ID })
}

// pageOfMemories is how many are asked for at a time.
const pageOfMemories = 100

// pages returns what a list has, page after page.
func pages[T any](ctx context.Context, c *Client, path string, q url.Values, id func(*T) string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		q.Set("limit", strconv.Itoa(pageOfMemories))
		for {
			var page struct {
				Data    []T  `json:"data"`
				HasMore bool `json:"has_more"`
			}
			if err := c.Do(ctx, http.MethodGet, path+"?"+q.Encode(), nil, &page); err != nil {
				var none T
				yield(none, err)
				return
			}
			for i := range page.Data {
				q.Set("after", id(&page.Data[i]))
				if !yield(page.Data[i], nil) {
					return
				}
			}
			if !page.HasMore || len(page.Data) == 0 {
				return
			}
		}
	}
}

// MemorySearch is a question. Namespaces or Actor is given; times are dates, or
// times in RFC 3339.
type MemorySearch struct {
	Text           string            `json:"text"`
	Namespaces     []string          `json:"namespaces,omitzero"` // prefixes
	Actor          string            `json:"actor,omitzero"`
	Strategies     []string          `json:"strategies,omitzero"`
	SessionID      string            `json:"session_id,omitzero"`
	Metadata       map[string]string `json:"metadata,omitzero"`
	Since          string            `json:"since,omitzero"`    // true since this time or later
	Until          string            `json:"until,omitzero"`    // true before this time
	KnownAt        string            `json:"known_at,omitzero"` // what was believed then
	ValidAt        string            `json:"valid_at,omitzero"` // what is true then
	Superseded     bool              `json:"superseded,omitzero"`
	ExcludeForeign bool              `json:"exclude_foreign,omitzero"`
	Limit          int               `json:"limit,omitzero"`
	MaxTokens      int               `json:"max_tokens,omitzero"` // of the context
}

// FoundMemories is what a search found.
type FoundMemories struct {
	Data []Memory `json:"data"` // the best first
	// Context is what was found in words for a model, and ContextTokens its size.
	Context       string `json:"context"`
	ContextTokens int    `json:"context_tokens"`
	// WordsOnly says why the question was searched by words alone, where it was.
	WordsOnly string `json:"words_only"`
	// NotReranked says why what was found was not reranked, where it was to be.
	NotReranked string `json:"not_reranked"`
}

// SearchMemories finds what is relevant to a question.
func (c *Client) SearchMemories(ctx context.Context, s MemorySearch) (*FoundMemories, error) {
	f := &FoundMemories{}
	return f, c.Do(ctx, http.MethodPost, memoriesPath+"/search", s, f)
}

// MemoryFile says what of a file is carried out or in.
type MemoryFile struct {
	Actor string // only memories about this actor; of a foreign file, whom they become about
	// Out: only memories below the namespace, and whether with vectors.
	Namespace string
	Vectors   bool
	// In: mem0, letta, langgraph, agentcore or stayd, which is found out where it
	// is empty, and the actor's name in the file.
	Format, From string
}

func (f *MemoryFile) query() string {
	q := url.Values{}
	for name, v := range map[string]string{"actor": f.Actor, "namespace": f.Namespace, "format": f.Format, "from": f.From} {
		if v != "" {
			q.Set(name, v)
		}
	}
	if f.Vectors {
		q.Set("vectors", "true")
	}
	return "?" + q.Encode()
}

// ExportMemories opens the memories of the project as JSON Lines. The caller
// closes it.
func (c *Client) ExportMemories(ctx context.Context, f MemoryFile) (io.ReadCloser, error) {
	return c.Stream(ctx, http.MethodGet, memoriesPath+"/export"+f.query(), nil)
}

// MemoryReport says what became of a file that was imported.
type MemoryReport struct {
	Format   string `json:"format"`
	Read     int    `json:"read"` // entries of the file that can hold a memory
	Kept     int    `json:"kept"` // memories, of which these are new, and these were there
	Written  int    `json:"written"`
	Repeated int    `json:"repeated"`
	NotKept  []struct {
		Kind     string   `json:"kind"`
		What     string   `json:"what"`
		Count    int      `json:"count"`
		Examples []string `json:"examples"` // where in the file
	} `json:"not_kept"`

	raw string
}

// RawJSON is the report as the server sent it.
func (r *MemoryReport) RawJSON() string { return r.raw }

// UnmarshalJSON decodes a report.
func (r *MemoryReport) UnmarshalJSON(data []byte) error {
	type plain MemoryReport
	if err := json.Unmarshal(data, (*plain)(r)); err != nil {
		return err
	}
	r.raw = string(data)
	return nil
}

// ImportMemories imports a file: our own, or one of another system.
func (c *Client) ImportMemories(ctx context.Context, f MemoryFile, file io.Reader) (*MemoryReport, error) {
	body, err := c.send(ctx, http.MethodPost, memoriesPath+"/import"+f.query(), "application/octet-stream", file)
	if err != nil {
		return nil, err
	}
	defer body.Close() //nolint:errcheck // only read
	r := &MemoryReport{}
	return r, json.NewDecoder(body).Decode(r)
}
