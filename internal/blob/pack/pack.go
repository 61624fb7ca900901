// Package pack owns the form in which blobs lie in files and in buckets: one
// byte that says how, and the bytes, packed with zstd where that makes them
// smaller. It does not know where they lie.
package pack

import (
	"fmt"

	"github.com/klauspost/compress/zstd"

	"github.com/stayd/stayd/internal/blob"
	"github.com/stayd/stayd/internal/event"
)

const (
	plain  = 0
	packed = 1

	// smallest is the size in bytes below which packing is not tried.
	smallest = 128
)

// Codec packs and unpacks. Its methods may be called at once from many
// goroutines.
type Codec struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

// New returns a codec.
func New() (*Codec, error) {
	enc, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderConcurrency(2),
		zstd.WithWindowSize(1<<20),
		zstd.WithEncoderCRC(false)) // the blob's name is its checksum
	if err != nil {
		return nil, fmt.Errorf("make the blob packer: %w", err)
	}
	dec, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(2),
		zstd.WithDecoderMaxMemory(blob.MaxSize))
	if err != nil {
		return nil, fmt.Errorf("make the blob unpacker: %w", err)
	}
	return &Codec{enc: enc, dec: dec}, nil
}

// Pack returns data as it is kept.
func (c *Codec) Pack(data []byte) []byte {
	out := make([]byte, 1, len(data)+64)
	if len(data) >= smallest {
		out[0] = packed
		out = c.enc.EncodeAll(data, out)
		if len(out) < len(data)-len(data)/16 {
			return out
		}
	}
	out = append(out[:0], plain)
	return append(out, data...)
}

// Unpack returns the blob of that name from what Pack made of it. The result may
// share the memory of kept, or of buf, in which other content is lost. The error
// is blob.ErrCorrupt.
func (c *Codec) Unpack(name event.Hash, kept, buf []byte) ([]byte, error) {
	if len(kept) == 0 {
		return nil, fmt.Errorf("blob %s is kept as nothing: %w", name, blob.ErrCorrupt)
	}
	data := kept[1:]
	switch kept[0] {
	case plain:
	case packed:
		var err error
		if data, err = c.dec.DecodeAll(data, buf[:0]); err != nil {
			return nil, fmt.Errorf("unpack blob %s: %w: %w", name, err, blob.ErrCorrupt)
		}
	default:
		return nil, fmt.Errorf("blob %s is kept in the unknown form %d: %w", name, kept[0], blob.ErrCorrupt)
	}
	if blob.Name(data) != name {
		return nil, fmt.Errorf("blob %s has other content: %w", name, blob.ErrCorrupt)
	}
	return data, nil
}

// Close frees what the codec holds.
func (c *Codec) Close() {
	c.dec.Close()
}
