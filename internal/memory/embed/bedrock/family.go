package bedrock

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/stayd/stayd/internal/memory/embed/batch"
)

// family is the models that are asked in one form.
type family struct {
	prefix     string // of their ids
	dimensions []int  // that they have, the longest first
	limits     batch.Limits
	request    func(texts []string, dimensions int, question bool) ([]byte, error)
	parse      func(body []byte) ([]batch.Vector, error)
}

// The limits of texts are bytes below those that AWS gives in tokens or
// characters, as neither has less than a byte.
var families = []*family{
	{
		prefix: "amazon.titan-embed-text-v2", dimensions: []int{1024, 512, 256},
		// 8192 tokens; a request has one text.
		limits:  batch.Limits{Texts: 1, Bytes: 8000, Text: 8000, Requests: 8},
		request: titanRequest, parse: parseTitan,
	},
	{
		prefix: "cohere.embed-v4", dimensions: []int{1536, 1024, 512, 256},
		// 128,000 tokens a text.
		limits:  batch.Limits{Texts: 96, Bytes: 500_000, Text: 32_000, Requests: 2},
		request: cohereV4Request, parse: parseCohere,
	},
	{
		prefix: "cohere.embed-english-v3", dimensions: []int{1024},
		limits:  cohereV3Limits,
		request: cohereV3Request, parse: parseCohere,
	},
	{
		prefix: "cohere.embed-multilingual-v3", dimensions: []int{1024},
		limits:  cohereV3Limits,
		request: cohereV3Request, parse: parseCohere,
	},
}

// cohereV3Limits keep below 2048 characters, and nearly always below 512 tokens:
// English has some four bytes in a token, Chinese three.
var cohereV3Limits = batch.Limits{Texts: 96, Bytes: 96 * 1500, Text: 1500, Requests: 2}

// familyOf finds the family by the id, which profiles and ARNs end with, and
// returns the id without what they put in front.
func familyOf(model string) (*family, string, error) {
	for _, f := range families {
		at := strings.Index(model, f.prefix)
		if at == 0 || at > 0 && strings.ContainsRune("./", rune(model[at-1])) {
			return f, model[at:], nil
		}
	}
	var known []string
	for _, f := range families {
		known = append(known, f.prefix)
	}
	return nil, "", fmt.Errorf("bedrock embeddings: the model %q is none that can be asked; its id begins with one of %s", model, strings.Join(known, ", "))
}

// dimension is the one that is wanted, or the longest.
func (f *family) dimension(model string, want int) (int, error) {
	if want == 0 {
		return f.dimensions[0], nil
	}
	if !slices.Contains(f.dimensions, want) {
		return 0, fmt.Errorf("bedrock embeddings: the model %s has no vectors of dimension %d; it has %s", model, want, strings.Trim(strings.Join(strings.Fields(fmt.Sprint(f.dimensions)), ", "), "[]"))
	}
	return want, nil
}

func titanRequest(texts []string, dimensions int, _ bool) ([]byte, error) {
	return json.Marshal(struct {
		InputText  string `json:"inputText"`
		Dimensions int    `json:"dimensions"`
		Normalize  bool   `json:"normalize"`
	}{texts[0], dimensions, true})
}

func parseTitan(body []byte) ([]batch.Vector, error) {
	var reply struct {
		Embedding batch.Vector `json:"embedding"`
	}
	if err := json.Unmarshal(body, &reply); err != nil {
		return nil, err
	}
	if len(reply.Embedding) == 0 {
		return nil, errors.New("it has no embedding")
	}
	return []batch.Vector{reply.Embedding}, nil
}

func inputType(question bool) string {
	if question {
		return "search_query"
	}
	return "search_document"
}

// cohereV3Request lets the model leave out the end of a text that has more tokens
// than it takes, rather than refuse all the texts of the request.
func cohereV3Request(texts []string, _ int, question bool) ([]byte, error) {
	return json.Marshal(struct {
		Texts     []string `json:"texts"`
		InputType string   `json:"input_type"`
		Truncate  string   `json:"truncate"`
	}{texts, inputType(question), "END"})
}

func cohereV4Request(texts []string, dimensions int, question bool) ([]byte, error) {
	return json.Marshal(struct {
		Texts          []string `json:"texts"`
		InputType      string   `json:"input_type"`
		EmbeddingTypes []string `json:"embedding_types"`
		Dimension      int      `json:"output_dimension"`
	}{texts, inputType(question), []string{"float"}, dimensions})
}

// parseCohere takes both forms of an answer: a list, and lists by their type.
func parseCohere(body []byte) ([]batch.Vector, error) {
	var reply struct {
		Embeddings json.RawMessage `json:"embeddings"`
	}
	if err := json.Unmarshal(body, &reply); err != nil {
		return nil, err
	}
	var vectors []batch.Vector
	switch {
	case bytes.HasPrefix(reply.Embeddings, []byte("[")):
		err := json.Unmarshal(reply.Embeddings, &vectors)
		return vectors, err
	case !bytes.HasPrefix(reply.Embeddings, []byte("{")):
		return nil, errors.New("it has no embeddings")
	}
	var byType struct {
		Float []batch.Vector `json:"float"`
	}
	if err := json.Unmarshal(reply.Embeddings, &byType); err != nil {
		return nil, err
	}
	if len(byType.Float) == 0 {
		return nil, errors.New("it has no embeddings of the type float")
	}
	return byType.Float, nil
}
