package event

import "bytes"

// Settled reports whether decoding data, which Encode made of p, would give p
// again, so that p can be used in its place. It may report false where it would.
// Encoding changes texts that are not UTF-8 and JSON that is not compact.
func Settled(p Payload, data []byte) bool {
	if bytes.Contains(data, []byte(`\ufffd`)) {
		return false
	}
	switch p := p.(type) {
	case *EffectFinished:
		return compact(p.Output)
	case *ModelResponded:
		for i := range p.Items {
			it := &p.Items[i]
			if !compact(it.Arguments) || !compact(it.Output) || !compact(it.Provider) {
				return false
			}
		}
		return true
	case *TurnEnded:
		return true
	}
	return false
}

// compact reports whether valid JSON has no space between its tokens.
func compact(valid []byte) bool {
	for i := 0; i < len(valid); i++ {
		switch valid[i] {
		case ' ', '\t', '\n', '\r':
			return false
		case '"':
			i += 1 + stringEnd(valid[i+1:])
		}
	}
	return true
}

// stringEnd is where the quote is that ends a JSON string.
func stringEnd(s []byte) int {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			return i
		case '\\':
			i++
		}
	}
	return len(s)
}
