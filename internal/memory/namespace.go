package memory

import (
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
)

// Namespaces are paths such as /actors/alice/facts. Their first two segments are
// the space: records of one space are numbered together and share an index, so
// that a search below a space reads one index whatever the number of namespaces
// in it.

// Bounds of a namespace.
const (
	MaxNamespace = 512 // bytes
	maxSegments  = 16
)

// ParseNamespace returns the namespace in its one spelling: with a slash in
// front and none at the end.
func ParseNamespace(s string) (string, error) {
	if s == "" {
		return "", errors.New("a namespace is a path such as /actors/alice/facts, and is not empty")
	}
	if len(s) > MaxNamespace {
		return "", fmt.Errorf("the namespace has %d bytes, more than %d", len(s), MaxNamespace)
	}
	path := strings.Trim(s, "/")
	segments := strings.Split(path, "/")
	if len(segments) > maxSegments {
		return "", fmt.Errorf("the namespace has %d segments, more than %d", len(segments), maxSegments)
	}
	for _, seg := range segments {
		if err := checkSegment(seg); err != nil {
			return "", fmt.Errorf("namespace %q: %w", s, err)
		}
	}
	return "/" + path, nil
}

func checkSegment(seg string) error {
	switch seg {
	case "":
		return errors.New("a segment is empty")
	case ".", "..":
		return fmt.Errorf("the segment %q is not allowed", seg)
	}
	for _, r := range seg {
		if r < ' ' || r == 0x7f || strings.ContainsRune(`*?{}\`, r) || r == '\uFFFD' {
			return fmt.Errorf("the character %q is not allowed in a namespace", r)
		}
	}
	return nil
}

// SpaceOf returns the space of a normalised namespace.
func SpaceOf(namespace string) string {
	slashes := 0
	for i := range len(namespace) {
		if namespace[i] == '/' {
			if slashes++; slashes == 3 {
				return namespace[:i]
			}
		}
	}
	return namespace
}

// Below reports whether the normalised namespace is prefix or lies below it.
func Below(namespace, prefix string) bool {
	return strings.HasPrefix(namespace, prefix) && (len(namespace) == len(prefix) || namespace[len(prefix)] == '/')
}

// Escape makes one segment of any text, so that an actor called "a/b" gets a
// namespace of its own. Distinct texts have distinct escapes.
func Escape(s string) string {
	if s == "." || s == ".." {
		return strings.ReplaceAll(s, ".", "%2E")
	}
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == 0x7f || strings.IndexByte(`*?{}\/%`, c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// Fill returns the namespace that a template such as
// /actors/{actorId}/sessions/{sessionId} names. A variable without a value is an
// error.
func Fill(template string, values map[string]string) (string, error) {
	var b strings.Builder
	for rest := template; ; {
		before, after, found := strings.Cut(rest, "{")
		b.WriteString(before)
		if !found {
			return ParseNamespace(b.String())
		}
		name, tail, closed := strings.Cut(after, "}")
		v, known := values[name]
		switch {
		case !closed:
			return "", fmt.Errorf("namespace %q: a { is not closed", template)
		case !known:
			return "", fmt.Errorf("namespace %q: there is no variable {%s}", template, name)
		case v == "":
			return "", fmt.Errorf("namespace %q: {%s} has no value here", template, name)
		}
		b.WriteString(Escape(v))
		rest = tail
	}
}

// ShardOf returns the shard that holds the space, from 0 to 255. It is part of a
// record's id, so that one is found by its id alone.
func ShardOf(project, space string) int {
	h := fnv.New32a()
	h.Write([]byte(project + "\x00" + space)) //nolint:gosec // a hash never fails
	return int(h.Sum32() % 256)
}
