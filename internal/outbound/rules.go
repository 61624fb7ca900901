package outbound

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// rules are the operator's exceptions.
type rules struct {
	prefixes []netip.Prefix
	addrs    map[netip.AddrPort]bool // port 0 is all ports
	hosts    map[string]bool         // "name" or "name:port", in lower case
}

func parseRules(allow []string) (*rules, error) {
	r := &rules{addrs: map[netip.AddrPort]bool{}, hosts: map[string]bool{}}
	for _, s := range allow {
		if err := r.add(s); err != nil {
			return nil, fmt.Errorf("allowed address %q: %w", s, err)
		}
	}
	return r, nil
}

func (r *rules) add(s string) error {
	if p, err := netip.ParsePrefix(s); err == nil {
		if p.Addr().Is4In6() {
			return errors.New("write the prefix in its IPv4 form")
		}
		r.prefixes = append(r.prefixes, p.Masked())
		return nil
	}
	if strings.Contains(s, "/") {
		return errors.New("it is neither a prefix nor a host; leave out the scheme and the path")
	}
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		r.addrs[netip.AddrPortFrom(plain(a), 0)] = true
		return nil
	}
	host, port, ok := s, "", false
	if h, p, err := net.SplitHostPort(s); err == nil {
		host, port, ok = h, p, true
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("the port %q is not a number from 1 to 65535", p)
		}
	}
	if a, err := netip.ParseAddr(host); err == nil {
		n, _ := strconv.ParseUint(port, 10, 16)
		r.addrs[netip.AddrPortFrom(plain(a), uint16(n))] = true
		return nil
	}
	host = hostName(host)
	if host == "" || strings.ContainsAny(host, " :@*") {
		return errors.New("it is not a host, an address or a prefix")
	}
	if ok {
		host += ":" + port
	}
	r.hosts[host] = true
	return nil
}

// hostName is the form in which names are compared.
func hostName(h string) string { return strings.TrimSuffix(strings.ToLower(h), ".") }

// plain is the address without what makes two spellings of it differ.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// allowsHost reports whether the operator named the host of addr, host:port.
func (r *rules) allowsHost(addr string) bool {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	host = hostName(host)
	return r.hosts[host] || r.hosts[host+":"+port]
}

// check says whether a connection to the resolved address may be made. It is
// asked for every address that is tried.
func (r *rules) check(host, network, resolved string) error {
	ap, err := netip.ParseAddrPort(resolved)
	if err != nil || !strings.HasPrefix(network, "tcp") {
		return &RefusedError{Host: host, Addr: resolved, Reason: "not an address of the internet"}
	}
	a := plain(ap.Addr())
	reason := refused(a)
	if reason == "" || r.allowsAddr(a, ap.Port()) {
		return nil
	}
	return &RefusedError{Host: host, Addr: resolved, Reason: reason}
}

// checkLiteral refuses an address that the URL spells out, in the spellings that
// resolvers understand: dotted, and the old forms with fewer parts, in octal or
// hexadecimal. A name passes.
func (r *rules) checkLiteral(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return &RefusedError{Host: addr, Addr: addr, Reason: "not an address of the internet"}
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return r.check(addr, "tcp", net.JoinHostPort(a.String(), port))
	}
	if a, ok := oldSpelling(host); ok {
		return r.check(addr, "tcp", net.JoinHostPort(a.String(), port))
	}
	if h := hostName(host); h == "localhost" || strings.HasSuffix(h, ".localhost") {
		return &RefusedError{Host: addr, Addr: addr, Reason: "loopback"}
	}
	return nil
}

func (r *rules) allowsAddr(a netip.Addr, port uint16) bool {
	if r.addrs[netip.AddrPortFrom(a, 0)] || r.addrs[netip.AddrPortFrom(a, port)] {
		return true
	}
	for _, p := range r.prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// oldSpelling reads the IPv4 forms of inet_aton: one to four numbers, decimal,
// octal (0...) or hexadecimal (0x...), the last of which fills what is left.
func oldSpelling(host string) (netip.Addr, bool) {
	parts := strings.Split(strings.TrimSuffix(host, "."), ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var v uint64
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 0, 32)
		if err != nil || strings.Contains(p, "_") {
			return netip.Addr{}, false
		}
		if last := i == len(parts)-1; last {
			bits := 8 * (5 - len(parts))
			if n >= 1<<bits {
				return netip.Addr{}, false
			}
			v = v<<bits | n
		} else if n > 255 {
			return netip.Addr{}, false
		} else {
			v = v<<8 | n
		}
	}
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}), true
}
