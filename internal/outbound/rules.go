package outbound

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// rules are the operator's exceptions. A port of 0 is all ports.
type rules struct {
	prefixes []netip.Prefix
	addrs    map[netip.AddrPort]bool
	names    map[namePort]bool
}

type namePort struct {
	name string
	port uint16
}

func parseRules(allow []string) (*rules, error) {
	r := &rules{addrs: map[netip.AddrPort]bool{}, names: map[namePort]bool{}}
	for _, s := range allow {
		if err := r.add(s); err != nil {
			return nil, fmt.Errorf("allowed address %.100q: %w", s, err)
		}
	}
	return r, nil
}

func (r *rules) add(s string) error {
	if strings.Contains(s, "/") {
		return r.addPrefix(s)
	}
	host, port, err := splitAllowed(s)
	if err != nil {
		return err
	}
	if strings.Contains(host, "*") {
		return errors.New("there are no patterns of names; write each name, or a prefix of addresses")
	}
	t, reason := parseHost(host)
	switch {
	case reason != "":
		return fmt.Errorf("it is %s", reason)
	case !t.addr.IsValid():
		r.names[namePort{t.name, port}] = true
		return nil
	case t.addr.Zone() != "":
		return errors.New("an address is allowed on all links; leave out the zone")
	}
	if _, err := plainAddr(host, t.addr); err != nil {
		return err
	}
	r.addrs[netip.AddrPortFrom(t.addr, port)] = true
	return nil
}

// plainAddr returns an address as it is written in full. An operator who writes it
// in an odd form may mean another one.
func plainAddr(written string, a netip.Addr) (string, error) {
	if _, err := netip.ParseAddr(written); err != nil {
		return "", fmt.Errorf("it is an old spelling; write %s, if that is meant", a)
	}
	return a.String(), nil
}

func (r *rules) addPrefix(s string) error {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return errors.New("it is neither a prefix nor a host; leave out the scheme and the path")
	case p.Addr().Is4In6():
		return errors.New("write the prefix in its IPv4 form")
	case p != p.Masked():
		return fmt.Errorf("it is an address within a prefix; write %s, if all of that is meant", p.Masked())
	}
	r.prefixes = append(r.prefixes, p)
	return nil
}

// splitAllowed returns the host, without brackets, and the port, which is 0 where
// there is none.
func splitAllowed(s string) (host string, port uint16, err error) {
	if _, err := netip.ParseAddr(s); err == nil || !strings.Contains(s, ":") {
		return s, 0, nil
	}
	if inner, ok := strings.CutPrefix(s, "["); ok {
		if inner, ok := strings.CutSuffix(inner, "]"); ok {
			return inner, 0, nil
		}
	}
	host, text, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, errors.New("it is not a host, an address or a prefix")
	}
	port, reason := parsePort(text)
	if reason != "" {
		return "", 0, fmt.Errorf("the port %.20q is not a number from 1 to 65535", text)
	}
	return host, port, nil
}

// allowsName reports whether the operator named the host of the target.
func (r *rules) allowsName(t target) bool {
	return !t.addr.IsValid() && (r.names[namePort{t.name, 0}] || r.names[namePort{t.name, t.port}])
}

// check returns a *RefusedError where an address may not be reached. asked is
// what the address was found for.
func (r *rules) check(asked string, a netip.AddrPort) error {
	// A zone tells links apart, and is no part of what is allowed.
	plain := netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
	reason := special(plain.Addr())
	if reason == "" || r.allowsAddr(plain) {
		return nil
	}
	return &RefusedError{Host: asked, Addr: plain, Reason: reason}
}

// checkSpelled refuses an address that is spelled out, and the names that stand
// for this machine wherever they are resolved (RFC 6761, 6.3). Other names pass.
func (r *rules) checkSpelled(asked string, t target) error {
	a := t.addr
	if !a.IsValid() {
		if r.allowsName(t) || t.name != "localhost" && !strings.HasSuffix(t.name, ".localhost") {
			return nil
		}
		a = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return r.check(asked, netip.AddrPortFrom(a, t.port))
}

func (r *rules) allowsAddr(a netip.AddrPort) bool {
	if r.addrs[netip.AddrPortFrom(a.Addr(), 0)] || r.addrs[a] {
		return true
	}
	for _, p := range r.prefixes {
		if p.Contains(a.Addr()) {
			return true
		}
	}
	return false
}
