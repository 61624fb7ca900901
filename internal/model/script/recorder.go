package script

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/model"
)

// recordingHeader begins every recording: only what a Recorder began is appended
// to.
const recordingHeader = "# A recording of a model: answers by the hash of the request. Steps are appended.\n"

// Recorder is a model that keeps the answers of another in a script, from which
// they can be replayed. Of a request it keeps hashes only, and what looks like a
// credential in an answer is replaced.
type Recorder struct {
	model model.Model
	path  string

	mu    sync.Mutex
	known map[string]bool // request hashes that have their answer in the file
}

var _ model.Model = (*Recorder)(nil)

// NewRecorder records the answers of m in the file at path, which it makes, or
// appends to where it is a recording already. One process may write a file.
func NewRecorder(m model.Model, path string) (*Recorder, error) {
	r := &Recorder{model: m, path: path, known: map[string]bool{}}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, r.append([]byte(recordingHeader + "steps:\n"))
	}
	if err != nil {
		return nil, fmt.Errorf("open recording: %w", err)
	}
	if !bytes.HasPrefix(data, []byte(recordingHeader)) {
		return nil, fmt.Errorf("open recording %s: the file is not a recording: name one that does not exist", path)
	}
	if string(data) == recordingHeader+"steps:\n" {
		return r, nil
	}
	s, err := Parse(strings.TrimSuffix(filepath.Base(path), ".yaml"), data)
	if err != nil {
		return nil, fmt.Errorf("open recording %s: %w", path, err)
	}
	for i := range s.steps {
		r.known[s.steps[i].request] = true
	}
	return r, nil
}

// Generate asks the recorded model and writes its answer down before it returns
// it. An answer that cannot be written down is an error: a recording with a gap
// could not be replayed. Errors are not recorded. The first answer to a request
// stays; a later one to the same request is returned and not recorded.
func (r *Recorder) Generate(ctx context.Context, req *model.Request, emit func(model.Delta)) (*model.Response, error) {
	resp, err := r.model.Generate(ctx, req, emit)
	if err != nil {
		return nil, err
	}
	if err := r.record(req, resp); err != nil {
		return nil, &model.Error{Code: "server_error", Message: "the model answered, but the answer could not be recorded", Err: err}
	}
	return resp, nil
}

func (r *Recorder) record(req *model.Request, resp *model.Response) error {
	f := fingerprintOf(req)
	data, err := encodeStep(f, resp)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known[f.Request] {
		return nil
	}
	if err := r.append(data); err != nil {
		return err
	}
	r.known[f.Request] = true
	return nil
}

func (r *Recorder) append(data []byte) error {
	f, err := os.OpenFile(r.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("append to recording: %w", err)
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("append to recording: %w", err)
	}
	return nil
}

// encodeStep writes the step that answers the request with the response.
func encodeStep(f fingerprint, resp *model.Response) ([]byte, error) {
	items := sequence()
	for i := range resp.Items {
		n, err := recordedItem(&resp.Items[i])
		if err != nil {
			return nil, err
		}
		items.Content = append(items.Content, n)
	}
	u := resp.Usage
	step := mapping(
		"when", mapping("request", quoted(f.Request)),
		"recorded", mapping("model", quoted(f.Model), "items", number(int64(f.Items)), "last_item", quoted(f.LastItem),
			"earlier", quoted(f.Earlier), "instructions", quoted(f.Instructions), "tools", quoted(f.Tools), "settings", quoted(f.Settings)),
		"reply", mapping("items", items, "usage", mapping("input_tokens", number(u.InputTokens), "cached_tokens", number(u.CachedTokens),
			"output_tokens", number(u.OutputTokens), "reasoning_tokens", number(u.ReasoningTokens))),
	)
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := errors.Join(enc.Encode(sequence(step)), enc.Close()); err != nil {
		return nil, fmt.Errorf("encode recorded answer: %w", err)
	}
	return b.Bytes(), nil
}

func recordedItem(it *event.Item) (*yaml.Node, error) {
	switch it.Type {
	case event.ItemReasoning:
		return mapping("reasoning", parts(it.Summary)), nil
	case event.ItemMessage:
		n := mapping("text", parts(it.Content))
		if it.Phase != "" {
			n.Content = append(n.Content, quoted("phase"), quoted(it.Phase))
		}
		return n, nil
	case event.ItemFunctionCall:
		args := string(it.Arguments)
		if strings.HasPrefix(args, `"`) {
			args = event.OutputText(it.Arguments)
		}
		return mapping("call", mapping("name", quoted(escapeTemplate(it.Name)), "id", quoted(it.CallID), "json", quoted(redact(args)))), nil
	}
	return nil, fmt.Errorf("an answer with an item of the type %q cannot be recorded", it.Type)
}

func parts(list []event.Content) *yaml.Node {
	n := sequence()
	for i := range list {
		n.Content = append(n.Content, quoted(escapeTemplate(redact(list[i].Text))))
	}
	return n
}

// quoted is a text in double quotes, the one form that keeps every character.
func quoted(s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: strings.ToValidUTF8(s, "\uFFFD")}
}

func number(i int64) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.FormatInt(i, 10)}
}

func sequence(content ...*yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Content: content}
}

// mapping makes a mapping of names, each followed by its value.
func mapping(pairs ...any) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	for i := 0; i < len(pairs); i += 2 {
		n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: pairs[i].(string)}, pairs[i+1].(*yaml.Node)) //nolint:gosec // pairs come in twos
	}
	return n
}
