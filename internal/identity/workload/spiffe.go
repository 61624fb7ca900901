package workload

import (
	"fmt"
	"strconv"
	"strings"
)

// What the SPIFFE ID specification bounds, in bytes.
const (
	maxTrustDomain = 255
	maxSPIFFE      = 2048
)

const spiffeScheme = "spiffe://"

// CheckTrustDomain reports what is wrong with the name of a trust domain.
func CheckTrustDomain(s string) error {
	if s == "" || len(s) > maxTrustDomain || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789.-_") != "" {
		return fmt.Errorf("trust-domain %q is not one: it has 1 to %d of the characters a-z, 0-9, '.', '-' and '_', as in stayd.example.com", s, maxTrustDomain)
	}
	return nil
}

// sessionID is the SPIFFE id of a session, and agentID that of a version of an
// agent.
func (i *Issuer) sessionID(project, session string) (string, error) {
	return spiffeID(i.cfg.TrustDomain, "project", project, "session", session)
}

func (i *Issuer) agentID(project, agent string, version int64) (string, error) {
	if version < 1 {
		return "", bad("An agent has no version %d: they are counted from 1.", version)
	}
	return spiffeID(i.cfg.TrustDomain, "project", project, "agent", agent, "version", strconv.FormatInt(version, 10))
}

func spiffeID(domain string, segments ...string) (string, error) {
	for _, s := range segments {
		if !validSegment(s) {
			return "", bad("%q cannot be part of a SPIFFE id, whose parts have the characters A-Z, a-z, 0-9, '.', '-' and '_' and are neither empty nor '.' nor '..'.", s)
		}
	}
	id := spiffeScheme + domain + "/" + strings.Join(segments, "/")
	if len(id) > maxSPIFFE {
		return "", bad("A SPIFFE id has at most %d bytes, and this one would have %d.", maxSPIFFE, len(id))
	}
	return id, nil
}

func validSegment(s string) bool {
	if s == "" || s == "." || s == ".." {
		return false
	}
	for _, r := range s {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '-', r == '_':
		default:
			return false
		}
	}
	return true
}

// looksSPIFFE reports whether somebody could take a name for a SPIFFE id, which
// only what Stayd runs has.
func looksSPIFFE(name string) bool {
	return strings.HasPrefix(strings.ToLower(strings.TrimSpace(name)), "spiffe:")
}
