package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"time"
)

// Forget says what is to be forgotten: one of its first four fields.
type Forget struct {
	MemoryID  string `json:"memory_id,omitzero"`
	Actor     string `json:"actor,omitzero"`
	SessionID string `json:"session_id,omitzero"`
	Namespace string `json:"namespace,omitzero"` // all that lies below
	// Credentials deletes the actor's too.
	Credentials bool   `json:"credentials,omitzero"`
	Reason      string `json:"reason,omitzero"` // stands in the receipt
}

// Receipt says what class of things was forgotten. RawJSON has what is signed.
type Receipt struct {
	ID      string         `json:"id"`
	At      time.Time      `json:"at"`
	Class   string         `json:"class"` // record, actor, session, namespace, expired
	Reason  string         `json:"reason"`
	Records map[string]int `json:"records"` // how many memories, by strategy
	Derived int            `json:"derived"` // how many of them were drawn from what was asked for
	// Sessions is how many sessions were erased with them.
	Sessions int `json:"sessions"`
	// Credentials is how many of the actor's were deleted, where that was asked for.
	Credentials int `json:"credentials"`

	raw string
}

// RawJSON is the receipt as the server sent it.
func (r *Receipt) RawJSON() string { return r.raw }

// UnmarshalJSON decodes a receipt.
func (r *Receipt) UnmarshalJSON(data []byte) error {
	type plain Receipt
	if err := json.Unmarshal(data, (*plain)(r)); err != nil {
		return err
	}
	r.raw = string(data)
	return nil
}

// ForgetMemories forgets for good what is meant, all versions of it and all that
// was drawn from it.
func (c *Client) ForgetMemories(ctx context.Context, f Forget) (*Receipt, error) {
	r := &Receipt{}
	return r, c.Do(ctx, http.MethodPost, memoriesPath+"/forget", f, r)
}

// MemoryReceipts returns the receipts of what was forgotten, the newest first. An
// error is the last of what it returns.
func (c *Client) MemoryReceipts(ctx context.Context) iter.Seq2[Receipt, error] {
	return pages(ctx, c, memoriesPath+"/receipts", url.Values{}, func(r *Receipt) string { return r.ID })
}

// MemoryRule is what holds for all that lies below a namespace. One that says
// nothing else is none.
type MemoryRule struct {
	Namespace          string `json:"namespace"`
	ExpireAfterSeconds int64  `json:"expire_after_seconds,omitzero"` // of what is written from then on; 0 is never
	Hold               bool   `json:"hold,omitzero"`                 // nothing is forgotten
	Reason             string `json:"reason,omitzero"`               // of the hold
}

// MemoryRules lists the rules of the project.
func (c *Client) MemoryRules(ctx context.Context) ([]MemoryRule, error) {
	var page struct {
		Data []MemoryRule `json:"data"`
	}
	err := c.Do(ctx, http.MethodGet, memoriesPath+"/rules", nil, &page)
	return page.Data, err
}

// SetMemoryRule sets a rule in place of the one that its namespace had.
func (c *Client) SetMemoryRule(ctx context.Context, r MemoryRule) (*MemoryRule, error) {
	set := &MemoryRule{}
	return set, c.Do(ctx, http.MethodPost, memoriesPath+"/rules", r, set)
}
