package store_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/store"
)

func TestBlobCodec(t *testing.T) {
	c, err := store.NewBlobCodec()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	noise := make([]byte, 3<<20)
	chacha := rand.NewChaCha8([32]byte{1})
	chacha.Read(noise)
	for name, data := range map[string][]byte{
		"empty":   {},
		"text":    []byte(strings.Repeat("the quick brown fox ", 1000)),
		"noise":   noise,
		"one":     {0},
		"no zstd": []byte("\x28\xb5\x2f\xfd"),
	} {
		packed := c.Pack(data)
		got, err := c.Unpack(store.BlobHash(data), packed)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: got %d bytes, %v; want %d", name, len(got), err, len(data))
		}
		if len(packed) > len(data)+len(data)/1000+32 {
			t.Errorf("%s: %d bytes packed to %d", name, len(data), len(packed))
		}
	}
}

func TestBlobCodecFindsDamage(t *testing.T) {
	c, err := store.NewBlobCodec()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	data := []byte(strings.Repeat("0123456789abcdef", 400))
	name, packed := store.BlobHash(data), c.Pack(data)
	for i := range packed {
		bad := bytes.Clone(packed)
		bad[i] ^= 0x20
		got, err := c.Unpack(name, bad)
		if err == nil && bytes.Equal(got, data) {
			continue // a bit that means nothing to the format
		}
		if !errors.Is(err, store.ErrCorrupt) || got != nil {
			t.Fatalf("byte %d changed: got %d bytes, %v; want ErrCorrupt", i, len(got), err)
		}
	}
	if _, err := c.Unpack(store.BlobHash([]byte("other")), packed); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("another name: %v; want ErrCorrupt", err)
	}
}
