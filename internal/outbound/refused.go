package outbound

import (
	"fmt"
	"net/netip"
)

// RefusedError is a request or a connection that the policy does not allow.
// Nothing was sent, and nothing will be if it is tried again.
type RefusedError struct {
	Host   string         // what was asked for, as it was written; it may be long
	Addr   netip.AddrPort // what Host stands for; not valid where it is no address
	Reason string         // what the address, or else Host, is: "loopback", "private", ...
}

// Error says which address was refused, and how it could be allowed.
func (e *RefusedError) Error() string {
	if !e.Addr.IsValid() {
		return fmt.Sprintf("%.100q is not reached: it is %s", e.Host, e.Reason)
	}
	is := "it is"
	if e.Host != e.Addr.String() {
		is = fmt.Sprintf("it is the address %s, which is", e.Addr.Addr())
	}
	return fmt.Sprintf("%.100s is not reached: %s %s; the operator may allow it with allow-outbound %s", e.Host, is, e.Reason, e.Addr)
}
