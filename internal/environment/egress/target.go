package egress

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

// target is what a request is for.
type target struct {
	host string     // in the one form in which hosts are compared
	addr netip.Addr // where the host is an address
	port uint16
}

func (t target) String() string { return net.JoinHostPort(t.host, strconv.Itoa(int(t.port))) }

// dialled is the address to connect to. The dot keeps resolvers from trying the
// name below the machine's own domains.
func (t target) dialled() string {
	if t.addr.IsValid() {
		return t.String()
	}
	return net.JoinHostPort(t.host+".", strconv.Itoa(int(t.port)))
}

// parseTarget reads whom a request is for. The error is a *refusal.
func parseTarget(r *http.Request) (t target, err error) {
	u := r.URL
	connect := r.Method == http.MethodConnect
	switch {
	case !connect && u.Host == "":
		return t, invalid("this is a proxy: a request has the whole URL, http://host/path, in its first line")
	case !connect && u.Scheme != "http":
		return t, invalid("a URL of the scheme %.20q is not forwarded; https goes through CONNECT host:443", u.Scheme)
	case u.User != nil:
		return t, invalid("the URL has a user's name or a password before the host; send them in a header")
	case connect && r.RequestURI != u.Host:
		return t, invalid("CONNECT takes host:port and nothing else")
	case connect && u.Port() == "":
		return t, invalid("CONNECT takes host:port; the port is missing")
	}
	t.port = 80
	if s := u.Port(); s != "" {
		n, err := strconv.ParseUint(s, 10, 16)
		if err != nil || n == 0 {
			return t, invalid("the port %.10q is not a number from 1 to 65535", s)
		}
		t.port = uint16(n)
	}
	t.host, t.addr, err = parseHost(u.Hostname())
	return t, err
}

// parseHost brings a host into the one form in which hosts are compared and
// dialled. An address is taken in its plain form only: all the others have been
// used to get past a list. The error is a *refusal.
func parseHost(s string) (string, netip.Addr, error) {
	var none netip.Addr
	host := strings.ToLower(s)
	if strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 }) {
		ascii, err := idna.Lookup.ToASCII(s)
		if err != nil {
			return "", none, invalid("the host %.100q is not a name of the internet", s)
		}
		host = ascii
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if a.Zone() != "" || a.Is4In6() || translated.Contains(a) || compatible.Contains(a) && !a.IsLoopback() {
			return "", none, invalid("the address %.100q stands for another one; write that", s)
		}
		return a.String(), a, nil
	}
	host = strings.TrimSuffix(host, ".")
	labels := strings.Split(host, ".")
	for _, l := range labels {
		if !isLabel(l) {
			return "", none, invalid("the host %.100q is not a name of the internet", s)
		}
	}
	if len(host) > 253 {
		return "", none, invalid("the host is longer than 253 characters")
	}
	// To many resolvers a name that ends in a number is an address in an old form.
	if isNumber(labels[len(labels)-1]) {
		return "", none, invalid("the host %.100q is neither a name nor an address in its plain form, 192.0.2.1 or [2001:db8::1]", s)
	}
	return host, none, nil
}

// The forms of IPv6 addresses that stand for an IPv4 address: of translators (RFC
// 6052), and the old compatible ones (RFC 4291), among which ::1 is but the loopback address.
var (
	translated = netip.MustParsePrefix("64:ff9b::/96")
	compatible = netip.MustParsePrefix("::/96")
)

// isLabel takes underscores too, which names have although hosts may not.
func isLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}

// isNumber reports whether a label is decimal, octal or hexadecimal (0x...), of
// any length.
func isNumber(s string) bool {
	digits := "0123456789"
	if rest, ok := strings.CutPrefix(s, "0x"); ok {
		s, digits = rest, digits+"abcdef"
	}
	return strings.Trim(s, digits) == ""
}

func invalid(format string, args ...any) error {
	return &refusal{code: "invalid_target", message: fmt.Sprintf(format, args...)}
}
