package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/coder/websocket"
)

// dialTimeout bounds a handshake. The runtime may ping another connection before
// it answers.
const dialTimeout = 30 * time.Second

// RefusedError is a runtime that does not take the machine, and would not if it
// were asked again.
type RefusedError struct {
	Status  int
	Message string
}

func (e *RefusedError) Error() string { return e.Message }

// Dial connects with the environment at the URL, which is the session's
// remote_url. project is for a runtime without API keys that serves several; it
// may be empty. The error is *RefusedError where it makes no sense to try again.
func Dial(ctx context.Context, url, token, project string) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	header := http.Header{"Authorization": {"Bearer " + token}}
	if project != "" {
		header.Set("OpenAI-Project", project)
	}
	conn, resp, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPHeader: header}) //nolint:bodyclose // the library reads it
	if err == nil {
		return conn, nil
	}
	if resp == nil {
		return nil, err
	}
	said := fmt.Sprintf("%s answers %s", resp.Request.URL.Host, resp.Status)
	if message := messageOf(resp.Body); message != "" {
		said += ": " + message
	}
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusConflict, http.StatusUpgradeRequired:
		return nil, &RefusedError{Status: resp.StatusCode, Message: said}
	}
	return nil, errors.New(said)
}

// messageOf is the message of an error's envelope, or "".
func messageOf(in io.Reader) string {
	b, err := io.ReadAll(io.LimitReader(in, 4<<10))
	if err != nil {
		return ""
	}
	var envelope struct {
		Error struct{ Message string } `json:"error"`
	}
	if json.Unmarshal(b, &envelope) != nil {
		return ""
	}
	return envelope.Error.Message
}
