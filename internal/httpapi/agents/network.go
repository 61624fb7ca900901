package agents

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/httpapi"
)

// network makes the access of an environment to the network; nil is none. Errors
// name parameters under at.
func (a *api) network(b *networkBody, at string) (*event.Network, error) {
	n := event.Network{Access: b.Access}
	var err error
	if n.Allowed, err = domains(b.AllowedDomains, at+".allowed_domains"); err != nil {
		return nil, err
	}
	if n.Blocked, err = domains(b.BlockedDomains, at+".blocked_domains"); err != nil {
		return nil, err
	}
	switch {
	case b.Access != event.NetworkRestricted && len(n.Allowed) > 0:
		return nil, httpapi.Invalid(at+".allowed_domains", "Only restricted access has domains that are allowed. Set access to restricted, or leave allowed_domains out.")
	case b.Access != event.NetworkRestricted && len(n.Blocked) > 0:
		return nil, httpapi.Invalid(at+".blocked_domains", "Only restricted access has domains that are blocked. Set access to restricted, or leave blocked_domains out.")
	case len(n.Allowed) > 0 && len(n.Blocked) > 0:
		return nil, httpapi.Invalid(at+".blocked_domains", "Give domains that are allowed or domains that are blocked, not both.")
	case b.Access == networkDisabled:
		return nil, nil
	case len(n.Blocked) > 0:
		// All but what is blocked is more than a list.
		n.Access = event.NetworkEnabled
	}
	if err := a.AllowNetwork(n.Access); err != nil {
		return nil, httpapi.Unsupported(at+".access", err.Error())
	}
	return &n, nil
}

// domains checks the domains, and returns them in lower case.
func domains(in []string, at string) ([]string, error) {
	var out []string
	for i, s := range in {
		d := strings.ToLower(s)
		if !domain(d) {
			where := fmt.Sprintf("%s[%d]", at, i)
			return nil, httpapi.Invalid(where, fmt.Sprintf("Invalid '%s': expected a domain like example.com, *.example.com or example.com:8443, without a scheme and a path.", where))
		}
		if !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	return out, nil
}

// domain reports whether s is a host, all hosts below one, or an address, with or
// without a port.
func domain(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	host := s
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		port, err := strconv.ParseUint(s[i+1:], 10, 16)
		if err != nil || port == 0 {
			return false
		}
		host = s[:i]
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		_, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		return err == nil && strings.HasSuffix(inner, "]")
	}
	above, isBelow := strings.CutPrefix(host, "*.")
	if _, err := netip.ParseAddr(above); err == nil && isBelow {
		return false // nothing is below an address
	}
	return hostName(above)
}

const (
	longestHost  = 253
	longestLabel = 63
)

func hostName(s string) bool {
	if s == "" || len(s) > longestHost {
		return false
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > longestLabel || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		if strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

// broadens reports whether a network lets through what the other, that of a
// template, does not.
func broadens(n, template *networkBody) bool {
	order := []string{networkDisabled, event.NetworkRestricted, event.NetworkEnabled}
	if r, t := slices.Index(order, n.Access), slices.Index(order, template.Access); r != t || n.Access != event.NetworkRestricted {
		return r > t
	}
	if len(template.BlockedDomains) == 0 {
		return len(n.BlockedDomains) > 0 || !within(n.AllowedDomains, template.AllowedDomains)
	}
	if len(n.BlockedDomains) > 0 {
		return !within(template.BlockedDomains, n.BlockedDomains)
	}
	return slices.ContainsFunc(n.AllowedDomains, func(d string) bool { return overlaps(d, template.BlockedDomains) })
}

// within reports whether each of the domains is one of the others, or below one.
func within(domains, others []string) bool {
	for _, d := range domains {
		if !slices.ContainsFunc(others, func(o string) bool { return covers(o, d) }) {
			return false
		}
	}
	return true
}

func overlaps(d string, others []string) bool {
	return slices.ContainsFunc(others, func(o string) bool { return covers(o, d) || covers(d, o) })
}

// covers reports whether the domain o is d, or has it below it.
func covers(o, d string) bool {
	o, d = strings.ToLower(o), strings.ToLower(d)
	if o == d {
		return true
	}
	above, ok := strings.CutPrefix(o, "*")
	return ok && strings.HasSuffix(d, above)
}
