package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"

	"github.com/openai/openai-go/v3"
)

// Artifacts returns what the session's turns published, the oldest first. An
// error is the last of what it returns.
func (c *Client) Artifacts(ctx context.Context, session string) iter.Seq2[openai.SessionArtifact, error] {
	return func(yield func(openai.SessionArtifact, error) bool) {
		pages := c.SDK.Beta.Agents.Sessions.Artifacts.ListAutoPaging(ctx, session, openai.BetaAgentSessionArtifactListParams{Limit: openai.Int(pageOfFiles), Order: "asc"})
		for pages.Next() {
			if !yield(pages.Current(), nil) {
				return
			}
		}
		if err := pages.Err(); err != nil {
			yield(openai.SessionArtifact{}, err)
		}
	}
}

const pageOfFiles = 100

// Artifact opens the content of an artifact. The caller closes it.
func (c *Client) Artifact(ctx context.Context, session, artifact string) (io.ReadCloser, error) {
	return c.Stream(ctx, http.MethodGet, SessionPath(session, "/artifacts/"+url.PathEscape(artifact)+"/content"), nil)
}

// File is a file of an environment.
type File struct {
	EnvironmentID string `json:"environment_id"`
	Path          string `json:"path"` // absolute, below /workspace
	SizeBytes     int64  `json:"size_bytes"`
}

func filesPath(environment, rest string) string {
	return "/v1/agents/environments/" + url.PathEscape(environment) + "/files" + rest
}

// Files returns the files of an environment below a folder, by the parts of
// their paths; an empty folder is the whole workspace. An error is the last of
// what it returns.
func (c *Client) Files(ctx context.Context, environment, folder string) iter.Seq2[File, error] {
	return func(yield func(File, error) bool) {
		q := url.Values{"limit": {strconv.Itoa(pageOfFiles)}, "order": {"asc"}}
		if folder != "" {
			q.Set("path", folder)
		}
		for {
			var page struct {
				Data []File  `json:"data"`
				Next *string `json:"next"`
			}
			if err := c.Do(ctx, http.MethodGet, filesPath(environment, "?"+q.Encode()), nil, &page); err != nil {
				yield(File{}, err)
				return
			}
			for _, f := range page.Data {
				if !yield(f, nil) {
					return
				}
			}
			if page.Next == nil {
				return
			}
			q.Set("page", *page.Next)
		}
	}
}

// File opens a file of an environment. The caller closes it.
func (c *Client) File(ctx context.Context, environment, path string) (io.ReadCloser, error) {
	return c.Stream(ctx, http.MethodGet, filesPath(environment, "/content?path="+url.QueryEscape(path)), nil)
}

// PutFile writes a file of an environment, of any size: it is sent as it is read.
func (c *Client) PutFile(ctx context.Context, environment, path string, content io.Reader) (*File, error) {
	body, err := c.send(ctx, http.MethodPut, filesPath(environment, "/content?path="+url.QueryEscape(path)), "application/octet-stream", content)
	if err != nil {
		return nil, err
	}
	defer body.Close() //nolint:errcheck // only read
	f := &File{}
	if err := json.NewDecoder(body).Decode(f); err != nil {
		return nil, fmt.Errorf("upload %s: the answer is not the JSON that was expected: %w", path, err)
	}
	return f, nil
}

// RemoveFile deletes a file of an environment, or a folder with all that is in it.
func (c *Client) RemoveFile(ctx context.Context, environment, path string) error {
	return c.Do(ctx, http.MethodDelete, filesPath(environment, "?path="+url.QueryEscape(path)), nil, nil)
}
