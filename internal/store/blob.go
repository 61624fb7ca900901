package store

import (
	"crypto/sha256"
	"fmt"

	"github.com/klauspost/compress/zstd"

	"github.com/stayd/stayd/internal/event"
)

// MaxBlob is the size in bytes of the largest blob that is read back. It keeps a
// damaged frame from asking for all of the memory.
const MaxBlob = 1 << 30

// IsBlob reports whether data is kept as a blob and not beside its record.
func IsBlob(data []byte) bool { return len(data) > BlobThreshold }

// BlobHash returns the name of a blob within its project: the SHA-256 of its
// content before it is packed.
func BlobHash(data []byte) event.Hash { return sha256.Sum256(data) }

// BlobCodec packs blobs with zstd. Its methods may be called at once from many
// goroutines.
type BlobCodec struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

// NewBlobCodec returns a codec that keeps at most two packings and unpackings
// going, since each of them holds on to its tables.
func NewBlobCodec() (*BlobCodec, error) {
	enc, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.SpeedDefault),
		zstd.WithEncoderConcurrency(2),
		zstd.WithAllLitEntropyCompression(true), // base64 and hexadecimal have no repeats, and fewer bits than bytes
		zstd.WithLowerEncoderMem(true),
		zstd.WithWindowSize(1<<20),
		zstd.WithEncoderCRC(false)) // the blob's name is its checksum
	if err != nil {
		return nil, fmt.Errorf("make the blob packer: %w", err)
	}
	dec, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(2),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(MaxBlob))
	if err != nil {
		return nil, fmt.Errorf("make the blob unpacker: %w", err)
	}
	return &BlobCodec{enc: enc, dec: dec}, nil
}

// Pack returns data as it is stored.
func (c *BlobCodec) Pack(data []byte) []byte {
	return c.enc.EncodeAll(data, make([]byte, 0, len(data)/2))
}

// Unpack returns the blob of that name. The error is ErrCorrupt where packed is
// not what Pack made of it.
func (c *BlobCodec) Unpack(name event.Hash, packed []byte) ([]byte, error) {
	return c.UnpackInto(name, packed, nil)
}

// UnpackInto is Unpack into the memory of buf, where there is enough. What buf
// held is lost.
func (c *BlobCodec) UnpackInto(name event.Hash, packed, buf []byte) ([]byte, error) {
	data, err := c.dec.DecodeAll(packed, buf[:0])
	if err != nil {
		return nil, fmt.Errorf("unpack blob %s: %w: %w", name, err, ErrCorrupt)
	}
	if BlobHash(data) != name {
		return nil, fmt.Errorf("blob %s has other content: %w", name, ErrCorrupt)
	}
	return data, nil
}

// Close frees what the codec holds.
func (c *BlobCodec) Close() {
	c.dec.Close()
}
