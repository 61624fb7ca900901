package modeltest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/model"
)

// New is Wire.New without a test to fail.
type New func(url string, client *http.Client) (model.Model, error)

// FuzzStream feeds whatever bytes as a provider's stream. Nothing may panic, an
// error is a *model.Error, and an answer is one that can be stored, whose deltas
// belong to its items.
func FuzzStream(f *testing.F, contentType, name string, newModel New, seeds ...[]byte) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		m, err := newModel("https://provider.test", &http.Client{Transport: canned{contentType, stream}})
		if err != nil {
			t.Fatal(err)
		}
		var deltas []model.Delta
		res, err := m.Generate(t.Context(), &model.Request{Model: name, Items: []*event.Item{userText("Hi")}}, func(d model.Delta) {
			deltas = append(deltas, d)
		})
		if err != nil {
			var e *model.Error
			if !errors.As(err, &e) || e.Code == "" || e.Message == "" {
				t.Fatalf("error is %T %v", err, err)
			}
			return
		}
		checkAnswer(t, res, deltas)
	})
}

func checkAnswer(t *testing.T, res *model.Response, deltas []model.Delta) {
	t.Helper()
	if _, err := json.Marshal(res.Items); err != nil {
		t.Fatalf("items cannot be stored: %v", err)
	}
	for i := range res.Items {
		it := &res.Items[i]
		switch it.Type {
		case event.ItemMessage:
			if it.Role != event.RoleAssistant {
				t.Errorf("a message has the role %q", it.Role)
			}
		case event.ItemReasoning:
		case event.ItemFunctionCall:
			if a := strings.TrimSpace(string(it.Arguments)); !json.Valid(it.Arguments) || (a[0] != '{' && a[0] != '"') {
				t.Errorf("arguments are %s", it.Arguments)
			}
		default:
			t.Errorf("an item has the type %q", it.Type)
		}
		if it.Status != event.StatusCompleted && it.Status != event.StatusIncomplete {
			t.Errorf("an item has the status %q", it.Status)
		}
	}
	for _, d := range deltas {
		if d.Index < 0 || d.Text == "" {
			t.Errorf("a delta is %+v", d)
		}
	}
}

// canned answers every request with the same stream.
type canned struct {
	contentType string
	stream      []byte
}

func (c canned) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {c.contentType}},
		Body:   io.NopCloser(bytes.NewReader(c.stream)), ContentLength: -1, Request: r,
	}, nil
}
