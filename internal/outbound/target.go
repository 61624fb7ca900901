package outbound

import (
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

// target is what a connection is for. All spellings of an address are one target.
type target struct {
	name   string     // in lower case, encoded, without a dot at its end; empty for an address
	addr   netip.Addr // in its plain form; not valid for a name
	rooted bool       // the name had a dot at its end, so no domain is added to it
	port   uint16
}

// host is the host as it is dialled.
func (t target) host() string {
	switch {
	case t.addr.IsValid():
		return t.addr.String()
	case t.rooted:
		return t.name + "."
	}
	return t.name
}

func (t target) String() string { return net.JoinHostPort(t.host(), strconv.Itoa(int(t.port))) }

// maxHost bounds the names of DNS, in bytes (RFC 1035, 2.3.4).
const maxHost = 253

const notAHost = "neither a name nor an address; write an address like 192.0.2.1 or [2001:db8::1]"

// parseTarget reads host:port. The error is a *RefusedError.
func parseTarget(hostPort string) (target, error) {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return target{}, &RefusedError{Host: hostPort, Reason: "not of the form host:port"}
	}
	t, reason := parseHost(host)
	if reason == "" {
		t.port, reason = parsePort(port)
	}
	if reason != "" {
		return target{}, &RefusedError{Host: hostPort, Reason: reason}
	}
	return t, nil
}

// parsePort returns a port, or what the text is instead of one.
func parsePort(s string) (port uint16, reason string) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, "on a port that is not a number from 1 to 65535"
	}
	return uint16(n), ""
}

// parseHost returns a target without a port, or what the text is instead of a
// host. What resolvers and browsers take for an address is one here too, so that
// what is checked and what is connected to are the same.
func parseHost(s string) (t target, reason string) {
	if len(s) > 4*maxHost {
		return t, "longer than a name may be"
	}
	host := strings.ToLower(s)
	if strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 }) {
		ascii, err := idna.Lookup.ToASCII(s)
		if err != nil {
			return t, notAHost
		}
		host = ascii
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if a.Zone() != "" && !a.IsLinkLocalUnicast() && !a.IsLinkLocalMulticast() {
			return t, "an address with a zone, which only link-local ones have"
		}
		t.addr = a.Unmap()
		return t, ""
	}
	host, t.rooted = strings.CutSuffix(host, ".")
	if len(host) > maxHost {
		return t, "longer than a name may be"
	}
	labels := strings.Split(host, ".")
	if isNumber(labels[len(labels)-1]) {
		a, ok := oldSpelling(labels)
		if !ok {
			return t, notAHost
		}
		return target{addr: a}, ""
	}
	for _, l := range labels {
		if !isLabel(l) {
			return t, notAHost
		}
	}
	t.name = host
	return t, ""
}

// isLabel takes underscores too, which names have although hosts may not.
func isLabel(s string) bool {
	return s != "" && len(s) <= 63 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}

// isNumber reports whether a label is decimal, octal or hexadecimal, of any
// length. No name of the internet ends in one.
func isNumber(s string) bool {
	digits := "0123456789"
	if rest, ok := strings.CutPrefix(s, "0x"); ok {
		return strings.Trim(rest, digits+"abcdef") == ""
	}
	return s != "" && strings.Trim(s, digits) == ""
}

// oldSpelling reads the IPv4 forms of inet_aton: one to four numbers, decimal,
// octal (0...) or hexadecimal (0x...), the last of which fills what is left.
func oldSpelling(parts []string) (netip.Addr, bool) {
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var v uint64
	for i, p := range parts {
		n, ok := oldNumber(p)
		bits := 8
		if i == len(parts)-1 {
			bits = 8 * (5 - len(parts))
		}
		if !ok || n >= 1<<bits {
			return netip.Addr{}, false
		}
		v = v<<bits | n
	}
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}), true
}

func oldNumber(s string) (n uint64, ok bool) {
	base := 10
	if rest, hex := strings.CutPrefix(s, "0x"); hex {
		s, base = rest, 16
	} else if len(s) > 1 && s[0] == '0' {
		s, base = s[1:], 8
	}
	// Any number of zeros may come before it.
	s = strings.TrimLeft(s[:max(len(s)-1, 0)], "0") + s[max(len(s)-1, 0):]
	n, err := strconv.ParseUint(s, base, 33)
	return n, err == nil
}

// hostPort is the host and port that a URL reaches.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		switch u.Scheme {
		case "https":
			port = "443"
		case "socks5", "socks5h":
			port = "1080"
		default:
			port = "80"
		}
	}
	return net.JoinHostPort(u.Hostname(), port)
}
