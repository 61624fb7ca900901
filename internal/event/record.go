// Package event holds the words that all of Stayd uses: the kinds of records
// that a session's log is made of, the items they carry, and how both are
// encoded, chained and read back. It does no I/O, reads no clock and makes no
// random numbers.
package event

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// Version is the version of the record payloads that this build writes. A
// record of an older version is upcast when it is decoded; one of a newer
// version is refused.
const Version = 1

// SaltSize is the number of random bytes that are hashed with a record's data.
const SaltSize = 16

// Hash is a SHA-256 sum.
type Hash [sha256.Size]byte

// String returns the hash in lower-case hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText encodes the hash in hexadecimal; an unset one is empty.
func (h Hash) MarshalText() ([]byte, error) {
	if h.IsZero() {
		return nil, nil
	}
	return []byte(h.String()), nil
}

// UnmarshalText decodes what MarshalText encodes.
func (h *Hash) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*h = Hash{}
		return nil
	}
	if len(text) != hex.EncodedLen(len(h)) {
		return fmt.Errorf("a hash has %d hexadecimal digits, not %d", hex.EncodedLen(len(h)), len(text))
	}
	_, err := hex.Decode(h[:], text)
	return err
}

// IsZero reports whether the hash is unset.
func (h Hash) IsZero() bool { return h == Hash{} }

// Record is one entry of a session's log.
//
// The chain covers Digest and not Data, so that Data and Salt can be erased
// while the chain still verifies.
type Record struct {
	Session string
	Seq     int64 // 1 for the first record of a session
	Time    time.Time
	Kind    Kind
	Version int
	Data    []byte // JSON; nil once erased
	Salt    []byte // SaltSize random bytes; nil once erased
	Digest  Hash   // SHA-256 of Salt and Data
	Hash    Hash   // SHA-256 of the previous record's Hash, the header and Digest
}

// Erased reports whether the record's data was forgotten.
func (r *Record) Erased() bool { return r.Salt == nil }

// ErrChain is wrapped by the errors of Verify: the log was changed after it was
// written.
var ErrChain = errors.New("log does not verify")

// Seal computes the record's Digest and its Hash, which follows prev. Time is
// cut to microseconds in UTC, which is what the stores keep.
func (r *Record) Seal(prev Hash) {
	r.Time = r.Time.UTC().Truncate(time.Microsecond)
	r.Digest = digest(r.Salt, r.Data)
	r.Hash = r.link(prev)
}

// Verify checks that the record follows a record whose hash is prev, and that
// its data, unless erased, is what was sealed.
func (r *Record) Verify(prev Hash) error {
	if !r.Erased() && digest(r.Salt, r.Data) != r.Digest {
		return fmt.Errorf("record %d of %s: data does not match its digest: %w", r.Seq, r.Session, ErrChain)
	}
	if r.link(prev) != r.Hash {
		return fmt.Errorf("record %d of %s: does not follow the record before it: %w", r.Seq, r.Session, ErrChain)
	}
	return nil
}

func digest(salt, data []byte) Hash {
	h := sha256.New()
	h.Write(salt)
	h.Write(data)
	return Hash(h.Sum(nil))
}

// link hashes the previous hash, then every header field with its length in
// front of it, so that no two headers have the same encoding.
func (r *Record) link(prev Hash) Hash {
	b := make([]byte, 0, 192)
	b = append(b, prev[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.Session)))
	b = append(b, r.Session...)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Seq))
	b = binary.BigEndian.AppendUint64(b, uint64(r.Time.UnixMicro()))
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.Kind)))
	b = append(b, r.Kind...)
	b = binary.BigEndian.AppendUint32(b, uint32(r.Version))
	b = append(b, r.Digest[:]...)
	return sha256.Sum256(b)
}
