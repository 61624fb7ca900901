package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// What programs may reach.
const (
	Restricted = "restricted" // the allowed hosts
	Enabled    = "enabled"    // all of the internet, but for the blocked hosts
)

// Policy says what the programs of an environment may reach.
type Policy struct {
	Access string // Restricted or Enabled
	// Allowed are hosts ("example.com"), all the hosts below one
	// ("*.example.com", without example.com itself) and addresses. One with a
	// port ("example.com:8443") is allowed on that port alone, one without on 80
	// and 443.
	Allowed []string
	// Blocked are in the same form, and come before Allowed. One without a port is
	// blocked on all of them.
	Blocked []string
}

type rules struct {
	restricted       bool
	allowed, blocked []pattern
}

// pattern is an entry of a list. Without a port, port is 0.
type pattern struct {
	target
	below bool // the hosts below target.host
}

func parsePolicy(p Policy) (*rules, error) {
	r := &rules{restricted: p.Access == Restricted}
	if p.Access != Restricted && p.Access != Enabled {
		return nil, fmt.Errorf("access is %q; it may be %q or %q", p.Access, Restricted, Enabled)
	}
	for _, l := range []struct {
		entries []string
		into    *[]pattern
	}{{p.Allowed, &r.allowed}, {p.Blocked, &r.blocked}} {
		for _, s := range l.entries {
			e, err := parsePattern(s)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", s, err)
			}
			*l.into = append(*l.into, e)
		}
	}
	return r, nil
}

func parsePattern(s string) (p pattern, err error) {
	if strings.ContainsAny(s, "/@ ") {
		return p, errors.New("it is not a host; leave out the scheme and the path")
	}
	s, p.below = strings.CutPrefix(s, "*.")
	host := s
	if a, err := netip.ParseAddr(s); err == nil {
		host = a.String()
	} else if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		n, err := strconv.ParseUint(s[i+1:], 10, 16)
		if err != nil || n == 0 {
			return p, errors.New("the port is not a number from 1 to 65535")
		}
		host, p.port = s[:i], uint16(n)
	}
	if h, ok := strings.CutPrefix(host, "["); ok {
		host = strings.TrimSuffix(h, "]")
	}
	if p.host, p.addr, err = parseHost(host); err != nil {
		return p, err
	}
	if p.below && p.addr.IsValid() {
		return p, errors.New("nothing is below an address")
	}
	return p, nil
}

func (p pattern) matchesHost(t target) bool {
	if p.below {
		return strings.HasSuffix(t.host, "."+p.host)
	}
	return t.host == p.host
}

// mail are the ports by which mail is sent.
var mail = []uint16{25, 465, 587}

// check returns a *refusal where the policy does not allow the target.
func (r *rules) check(t target) error {
	for _, p := range r.blocked {
		if p.matchesHost(t) && (p.port == 0 || p.port == t.port) {
			return &refusal{code: "host_blocked", message: t.String() + " is blocked in this environment"}
		}
	}
	if !r.restricted {
		if slices.Contains(mail, t.port) {
			return &refusal{code: "port_refused", message: fmt.Sprintf("port %d sends mail, which environments may not", t.port), ask: "offer a tool that sends mail"}
		}
		return nil
	}
	hostAllowed := false
	for _, p := range r.allowed {
		if !p.matchesHost(t) {
			continue
		}
		hostAllowed = true
		if p.port == t.port || p.port == 0 && (t.port == 80 || t.port == 443) {
			return nil
		}
	}
	if hostAllowed {
		return &refusal{code: "port_refused", message: fmt.Sprintf("%s may be reached from this environment, but not on port %d", t.host, t.port), ask: fmt.Sprintf("add %q to the allowed domains of this environment", t)}
	}
	return &refusal{code: "host_not_allowed", message: t.host + " is not among the domains that this environment may reach", ask: fmt.Sprintf("add %q to the allowed domains of this environment", t.host)}
}

// tlsOnly reports whether a tunnel to the target has to be TLS for the host that
// was asked for: else it would reach any host that shares an address with it. On
// a port that was allowed by its number, a tunnel may be anything.
func (r *rules) tlsOnly(t target) bool {
	return r.restricted && (t.port == 80 || t.port == 443)
}
