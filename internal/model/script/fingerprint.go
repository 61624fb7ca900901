package script

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/model"
)

// fingerprint is what a recording keeps of a request: hashes, and no text. Ids
// that a run makes (of items, turns, calls and effects), what a provider wants
// back, and the model's name are not part of any hash, so that the same
// conversation in another session has the same one.
type fingerprint struct {
	Request      string // SHA-256 of all the others but Model, in hexadecimal
	Model        string // as the provider named it; for the reader
	Items        int
	LastItem     string // type, and the beginning of its hash
	Earlier      string // the items before the last
	Instructions string
	Tools        string
	Settings     string // reasoning, text, service tier, output limit
}

func fingerprintOf(req *model.Request) fingerprint {
	f := fingerprint{Model: req.Model, Items: len(req.Items)}
	whole := sha256.New()
	section := func(sum []byte) string {
		whole.Write(sum)
		return hex.EncodeToString(sum[:8])
	}

	var b []byte
	calls := map[string]int{}
	earlier, last := sha256.New(), sha256.New()
	for i, it := range req.Items {
		b = appendItem(b[:0], it, calls)
		if i < len(req.Items)-1 {
			earlier.Write(b)
		} else {
			last.Write(b)
			f.LastItem = it.Type + " "
		}
	}
	f.Earlier = section(earlier.Sum(nil))
	f.LastItem += section(last.Sum(nil))

	sum := sha256.Sum256(appendText(nil, req.Instructions))
	f.Instructions = section(sum[:])

	b = b[:0]
	for i := range req.Tools {
		b = appendText(appendText(b, req.Tools[i].Name), req.Tools[i].Description)
		b = appendJSON(b, req.Tools[i].Parameters)
	}
	sum = sha256.Sum256(b)
	f.Tools = section(sum[:])

	b = appendText(appendText(b[:0], req.Reasoning.Effort), req.Reasoning.Summary)
	b = appendText(appendText(b, req.Text.Format), req.Text.Verbosity)
	b = appendJSON(b, req.Text.Schema)
	b = binary.BigEndian.AppendUint64(appendText(b, req.ServiceTier), uint64(req.MaxOutputTokens))
	sum = sha256.Sum256(b)
	f.Settings = section(sum[:])

	f.Request = hex.EncodeToString(whole.Sum(nil))
	return f
}

// appendItem encodes what of an item a model reads, each field with its length
// in front. A call's id becomes its number in the conversation.
func appendItem(b []byte, it *event.Item, calls map[string]int) []byte {
	b = appendText(appendText(b, it.Type), it.Role)
	for _, parts := range [][]event.Content{it.Content, it.Summary} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(parts)))
		for i := range parts {
			b = appendText(appendText(appendText(b, parts[i].Type), parts[i].Text), parts[i].ImageURL)
		}
	}
	if it.CallID != "" {
		if _, ok := calls[it.CallID]; !ok {
			calls[it.CallID] = len(calls) + 1
		}
	}
	b = binary.BigEndian.AppendUint32(b, uint32(calls[it.CallID]))
	b = appendText(appendText(b, it.Name), it.Error)
	b = appendJSON(b, it.Arguments)
	b = appendJSON(b, it.Output)
	if it.Status == event.StatusFailed {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendText(b []byte, s string) []byte {
	s = redact(s)
	b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
	return append(b, s...)
}

// appendJSON appends JSON however it was spaced and escaped.
func appendJSON(b []byte, raw json.RawMessage) []byte {
	if len(raw) > 0 && raw[0] == '"' {
		var s string
		if json.Unmarshal(raw, &s) == nil {
			return appendText(append(b, 's'), s)
		}
	}
	var c bytes.Buffer
	if json.Compact(&c, raw) != nil {
		return appendText(append(b, 'x'), string(raw))
	}
	return appendText(append(b, 'j'), c.String())
}

// differences says in which parts the request g is not the recorded f.
func (f *fingerprint) differences(g *fingerprint) []string {
	var diff []string
	if f.Items != g.Items {
		diff = append(diff, fmt.Sprintf("the number of items (%d, recorded %d)", g.Items, f.Items))
	}
	for _, part := range []struct{ what, recorded, now string }{
		{"the last item", f.LastItem, g.LastItem},
		{"the items before the last", f.Earlier, g.Earlier},
		{"the instructions", f.Instructions, g.Instructions},
		{"the tools", f.Tools, g.Tools},
		{"the settings (reasoning, text, service tier, output limit)", f.Settings, g.Settings},
	} {
		if part.recorded != part.now {
			diff = append(diff, fmt.Sprintf("%s (%s, recorded %s)", part.what, part.now, part.recorded))
		}
	}
	return diff
}
