package outbound

import "net/netip"

// ranges are those that are not reached without the operator's leave, and that
// the methods of netip.Addr do not name. The source is the IANA registry of
// special-purpose addresses; the metadata services are those of the clouds.
var ranges = []struct {
	prefix netip.Prefix
	reason string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "unspecified"},
	{netip.MustParsePrefix("100.64.0.0/10"), "shared (carrier-grade NAT)"},
	{netip.MustParsePrefix("168.63.129.16/32"), "a metadata service"},
	{netip.MustParsePrefix("192.0.0.0/24"), "reserved"},
	{netip.MustParsePrefix("192.0.2.0/24"), "for documentation"},
	{netip.MustParsePrefix("192.88.99.0/24"), "a 6to4 relay"},
	{netip.MustParsePrefix("198.18.0.0/15"), "for benchmarks"},
	{netip.MustParsePrefix("198.51.100.0/24"), "for documentation"},
	{netip.MustParsePrefix("203.0.113.0/24"), "for documentation"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved"},
	{netip.MustParsePrefix("2001:2::/48"), "for benchmarks"},
	{netip.MustParsePrefix("2001::/23"), "reserved (Teredo, ORCHID)"},
	{netip.MustParsePrefix("2001:db8::/32"), "for documentation"},
	{netip.MustParsePrefix("2002::/16"), "a 6to4 tunnel"},
	{netip.MustParsePrefix("3fff::/20"), "for documentation"},
}

var (
	globalV6 = netip.MustParsePrefix("2000::/3")
	nat64    = netip.MustParsePrefix("64:ff9b::/96")
)

// special says what an address is that is not public; it is empty for one that
// is. The address is in its plain form.
func special(a netip.Addr) string {
	switch {
	case !a.IsValid() || a.IsUnspecified():
		return "unspecified"
	case a.IsLoopback():
		return "loopback"
	case a.IsLinkLocalUnicast():
		return "link-local"
	case a.IsPrivate():
		return "private"
	case a.IsMulticast():
		return "multicast"
	}
	for _, s := range ranges {
		if s.prefix.Contains(a) {
			return s.reason
		}
	}
	if a.Is4() {
		return ""
	}
	// A translator reaches the IPv4 address in the last four bytes.
	if nat64.Contains(a) {
		b := a.As16()
		if reason := special(netip.AddrFrom4([4]byte(b[12:]))); reason != "" {
			return reason + ", behind a translator (NAT64)"
		}
		return ""
	}
	if !globalV6.Contains(a) {
		return "not a public unicast address"
	}
	return ""
}
