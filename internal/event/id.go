package event

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
)

// DeriveID makes an id that is a function of what it names, so that work that
// is done again after a crash has the ids that it had before.
func DeriveID(prefix string, parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(strconv.Itoa(len(p))))
		h.Write([]byte{':'})
		h.Write([]byte(p))
	}
	return prefix + "_" + hex.EncodeToString(h.Sum(nil)[:16])
}
