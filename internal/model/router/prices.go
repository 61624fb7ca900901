package router

import (
	"bytes"
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/stayd/stayd/internal/model"
)

//go:embed prices.yaml
var pricesFile []byte

// prices is the built-in table.
type prices struct {
	// Date is when the table was written down. Prices change: the operator's
	// models file goes first.
	Date   string           `yaml:"date"`
	Models map[string]price `yaml:"models"` // by provider/id, without dates of versions
}

type price struct {
	model.Price   `yaml:",inline"`
	ContextTokens int64 `yaml:"context_tokens"`
}

func readPrices() (prices, error) {
	var p prices
	dec := yaml.NewDecoder(bytes.NewReader(pricesFile))
	dec.KnownFields(true)
	if err := dec.Decode(&p); err != nil {
		return p, fmt.Errorf("built-in prices: %w", err)
	}
	return p, nil
}

// tableTypes are the types of the providers whose names the table uses. A
// provider of another type that has such a name is something else.
var tableTypes = map[string][]string{
	"openai":    {TypeOpenAI, TypeOpenAIChat},
	"anthropic": {TypeAnthropic},
	"bedrock":   {TypeBedrock},
}

// version is the end of an id that says which version of a model is meant.
var version = regexp.MustCompile(`(?:-20\d{6}|-20\d\d-\d\d-\d\d)?(?:-v\d+(?::\d+)?)?$`)

func (p *prices) find(c ProviderConfig, id string) (price, bool) {
	if !slices.Contains(tableTypes[c.Name], c.Type) {
		return price{}, false
	}
	got, ok := p.Models[c.Name+"/"+id]
	if !ok {
		got, ok = p.Models[c.Name+"/"+version.ReplaceAllString(id, "")]
	}
	return got, ok
}

// ids are the ids of the table that the provider serves.
func (p *prices) ids(c ProviderConfig) []string {
	var ids []string
	for name := range p.Models {
		if id, ok := strings.CutPrefix(name, c.Name+"/"); ok && c.Type != TypeBedrock && slices.Contains(tableTypes[c.Name], c.Type) {
			ids = append(ids, id)
		}
	}
	return ids
}
