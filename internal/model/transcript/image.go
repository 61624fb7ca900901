package transcript

import (
	"encoding/base64"
	"errors"
	"fmt"
	"mime"
	"strings"
)

// Image is the content of a data URL.
type Image struct {
	MediaType string // as in "image/png"
	Data      []byte
}

// IsDataURL reports whether the URL holds its data.
func IsDataURL(u string) bool {
	return len(u) >= 5 && strings.EqualFold(u[:5], "data:")
}

// ParseDataURL reads an image out of a base64 data URL (RFC 2397). Providers
// take PNG, JPEG, GIF and WebP.
func ParseDataURL(u string) (Image, error) {
	if !IsDataURL(u) {
		return Image{}, errors.New("an image is not a data URL")
	}
	head, data, ok := strings.Cut(u[len("data:"):], ",")
	if !ok {
		return Image{}, errors.New("an image's data URL has no comma")
	}
	head, isBase64 := cutSuffixFold(head, ";base64")
	if !isBase64 {
		return Image{}, errors.New("an image's data URL is not in base64")
	}
	media, _, err := mime.ParseMediaType(head)
	if err != nil {
		return Image{}, errors.New("an image's data URL has no media type")
	}
	switch media {
	case "image/jpg":
		media = "image/jpeg"
	case "image/png", "image/jpeg", "image/gif", "image/webp":
	default:
		return Image{}, fmt.Errorf("an image has the media type %q; png, jpeg, gif and webp are taken", media)
	}
	b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(data, "="))
	if err != nil {
		return Image{}, errors.New("an image's data URL is not valid base64")
	}
	if len(b) == 0 {
		return Image{}, errors.New("an image is empty")
	}
	return Image{MediaType: media, Data: b}, nil
}

func cutSuffixFold(s, suffix string) (string, bool) {
	if len(s) < len(suffix) || !strings.EqualFold(s[len(s)-len(suffix):], suffix) {
		return s, false
	}
	return s[:len(s)-len(suffix)], true
}
