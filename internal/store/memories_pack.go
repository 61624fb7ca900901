package store

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/stayd/stayd/internal/memory"
)

// Stores keep the ids, the strategy, the origin and the source of a record in
// the same short forms.

const memoryPrefix = "mem_"

// PackMemoryID returns the 16 bytes that a record's id spells.
func PackMemoryID(id string) (b [16]byte, ok bool) {
	rest, ok := strings.CutPrefix(id, memoryPrefix)
	if !ok || !isHex(rest) || len(rest) != 2*len(b) {
		return b, false
	}
	_, err := hex.Decode(b[:], []byte(rest))
	return b, err == nil
}

// UnpackMemoryID is the inverse of PackMemoryID.
func UnpackMemoryID(b []byte) (string, error) {
	if len(b) != 16 {
		return "", fmt.Errorf("a record's id has %d bytes: %w", len(b), ErrCorrupt)
	}
	return memoryPrefix + hex.EncodeToString(b), nil
}

func isHex(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && (r < 'a' || r > 'f') }) < 0
}

// The places in these lists are what is stored: they grow at their ends only.
func strategyNumbers() []memory.Strategy {
	return []memory.Strategy{memory.Turn, memory.Semantic, memory.Preference, memory.Summary, memory.Episodic, memory.Core}
}

func originNumbers() []memory.Origin {
	return []memory.Origin{memory.OriginClient, memory.OriginUser, memory.OriginAgent, memory.OriginOther, memory.OriginTool}
}

// StrategyNumber is what stands for a strategy.
func StrategyNumber(s memory.Strategy) (int16, bool) { return numberOf(strategyNumbers(), s) }

// OriginNumber is what stands for an origin.
func OriginNumber(o memory.Origin) (int16, bool) { return numberOf(originNumbers(), o) }

// StrategyOf is the inverse of StrategyNumber.
func StrategyOf(n int64) (memory.Strategy, error) { return valueOf(strategyNumbers(), n) }

// OriginOf is the inverse of OriginNumber.
func OriginOf(n int64) (memory.Origin, error) { return valueOf(originNumbers(), n) }

func numberOf[T comparable](list []T, v T) (int16, bool) {
	i := slices.Index(list, v)
	return int16(i), i >= 0
}

func valueOf[T any](list []T, n int64) (v T, err error) {
	if n < 0 || n >= int64(len(list)) {
		return v, fmt.Errorf("number %d stands for no %T: %w", n, v, ErrCorrupt)
	}
	return list[n], nil
}

// The fields of a source that is packed. The session's id is kept beside it.
const (
	sourceTurn = iota + 1
	sourceItem
	sourceRecord
	sourceSpeaker
	sourcePosition
	sourceLabel
	sourceModel
	sourcePrompt
	sourceExternal
)

// PackSource encodes all of a source but the session's id: for each field its
// number, and a text or the position as a varint. It is nil where there is
// nothing.
func PackSource(s *memory.Source) (b []byte) {
	text := func(field byte, texts ...string) {
		for _, t := range texts {
			if t != "" || field == sourceItem || field == sourceRecord {
				b = packText(append(b, field), t)
			}
		}
	}
	text(sourceTurn, s.TurnID)
	text(sourceItem, s.ItemIDs...)
	text(sourceRecord, s.RecordIDs...)
	text(sourceSpeaker, s.Speaker)
	if s.Position != 0 {
		b = binary.AppendVarint(append(b, sourcePosition), s.Position)
	}
	text(sourceLabel, s.Label)
	text(sourceModel, s.Model)
	text(sourcePrompt, s.Prompt)
	text(sourceExternal, s.External)
	return b
}

// UnpackSource is the inverse of PackSource.
func UnpackSource(b []byte, s *memory.Source) error {
	for len(b) > 0 {
		field := b[0]
		b = b[1:]
		if field == sourcePosition {
			v, n := binary.Varint(b)
			if n <= 0 {
				return errSource
			}
			s.Position, b = v, b[n:]
			continue
		}
		text, rest, ok := unpackText(b)
		if !ok || !setSource(s, field, text) {
			return errSource
		}
		b = rest
	}
	return nil
}

var errSource = fmt.Errorf("the source of a record cannot be read: %w", ErrCorrupt)

func setSource(s *memory.Source, field byte, text string) bool {
	switch field {
	case sourceTurn:
		s.TurnID = text
	case sourceItem:
		s.ItemIDs = append(s.ItemIDs, text)
	case sourceRecord:
		s.RecordIDs = append(s.RecordIDs, text)
	case sourceSpeaker:
		s.Speaker = text
	case sourceLabel:
		s.Label = text
	case sourceModel:
		s.Model = text
	case sourcePrompt:
		s.Prompt = text
	case sourceExternal:
		s.External = text
	default:
		return false
	}
	return true
}

// idDigits is the length of what follows the prefix in ids such as turn_0190….
const idDigits = 32

// packText appends twice the length and the text or, where the text ends as ids
// do, twice the length and one, and the text with its last digits as bytes.
func packText(b []byte, s string) []byte {
	n := len(s) - idDigits
	if n < 0 || !isHex(s[n:]) {
		return append(binary.AppendUvarint(b, uint64(len(s))<<1), s...)
	}
	b = binary.AppendUvarint(b, uint64(n+idDigits/2)<<1|1)
	b, _ = hex.AppendDecode(append(b, s[:n]...), []byte(s[n:])) // checked
	return b
}

func unpackText(b []byte) (s string, rest []byte, ok bool) {
	head, n := binary.Uvarint(b)
	if n <= 0 || head>>1 > uint64(len(b)-n) {
		return "", nil, false
	}
	text, rest := b[n:n+int(head>>1)], b[n+int(head>>1):]
	if head&1 == 0 {
		return string(text), rest, true
	}
	if len(text) < idDigits/2 {
		return "", nil, false
	}
	cut := len(text) - idDigits/2
	return string(text[:cut]) + hex.EncodeToString(text[cut:]), rest, true
}

// RestsOn lists the ids, packed and each once, of what a record was drawn from and of
// what it took the place of.
func RestsOn(r *memory.Record) (ids [][16]byte) {
	for _, id := range append([]string{r.Supersedes}, r.Source.RecordIDs...) {
		if b, ok := PackMemoryID(id); ok && !slices.Contains(ids, b) {
			ids = append(ids, b)
		}
	}
	return ids
}
