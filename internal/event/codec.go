package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// ErrDecode is wrapped by the errors of Decode.
var ErrDecode = errors.New("record cannot be decoded")

// Encode returns the payload as a record's data. It fails only on a payload
// that holds invalid raw JSON.
func Encode(p Payload) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(p); err != nil {
		return nil, fmt.Errorf("encode %s: %w", p.Kind(), err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// Decode returns the record's payload. An erased record has none: it decodes to
// nil.
func Decode(r *Record) (Payload, error) {
	if r.Erased() {
		return nil, nil
	}
	if r.Version < 1 || r.Version > Version {
		return nil, fmt.Errorf("record %d of %s has version %d, this build reads 1 to %d: %w", r.Seq, r.Session, r.Version, Version, ErrDecode)
	}
	p := newPayload(r.Kind)
	if p == nil {
		return nil, fmt.Errorf("record %d of %s has the unknown kind %q: %w", r.Seq, r.Session, r.Kind, ErrDecode)
	}
	if err := json.Unmarshal(r.Data, p); err != nil {
		return nil, fmt.Errorf("record %d of %s (%s): %w: %w", r.Seq, r.Session, r.Kind, err, ErrDecode)
	}
	return p, nil
}

func newPayload(k Kind) Payload {
	switch k {
	case KindSessionCreated:
		return new(SessionCreated)
	case KindSessionUpdated:
		return new(SessionUpdated)
	case KindSessionDeleted:
		return new(SessionDeleted)
	case KindSessionForked:
		return new(SessionForked)
	case KindSnapshot:
		return new(Snapshot)
	case KindEgress:
		return new(Egress)
	case KindTokenRenewed:
		return new(TokenRenewed)
	case KindArtifactDeleted:
		return new(ArtifactDeleted)
	case KindTurnCreated:
		return new(TurnCreated)
	case KindTurnCancelRequested:
		return new(TurnCancelRequested)
	case KindTurnEnded:
		return new(TurnEnded)
	case KindToolsListed:
		return new(ToolsListed)
	case KindEnvironmentChanged:
		return new(EnvironmentChanged)
	case KindModelResponded:
		return new(ModelResponded)
	case KindContextCompacted:
		return new(ContextCompacted)
	case KindToolResult:
		return new(ToolResult)
	case KindMemoryRecalled:
		return new(MemoryRecalled)
	case KindMemoryKept:
		return new(MemoryKept)
	case KindMemoryExtracted:
		return new(MemoryExtracted)
	case KindEffectStarted:
		return new(EffectStarted)
	case KindEffectFailed:
		return new(EffectFailed)
	case KindEffectFinished:
		return new(EffectFinished)
	case KindEffectUnknown:
		return new(EffectUnknown)
	case KindEffectResolved:
		return new(EffectResolved)
	case KindConsentRequested:
		return new(ConsentRequested)
	case KindConsentResolved:
		return new(ConsentResolved)
	}
	return nil
}

// marshal encodes a value that cannot fail to encode.
func marshal(v any) json.RawMessage {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(fmt.Sprintf("event: encode %T: %v", v, err))
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
