package outbound

import (
	"context"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// DialFunc connects as net.Dialer.DialContext does.
type DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// NewDialer returns a function that connects as the policy allows, for what is
// not a request of this process. A name is resolved once, and the address that
// was checked is the one that is connected to; through a Proxy the proxy resolves
// it. Its errors wrap a *RefusedError where the policy refused. It fails on an
// entry of Allow or Direct, and on a Proxy, that cannot be understood.
func NewDialer(p Policy) (DialFunc, error) {
	rules, err := parseRules(p.Allow)
	if err != nil {
		return nil, err
	}
	direct := newDialer(&p, rules)
	if p.Proxy == nil {
		return direct.dial, nil
	}
	toProxy, err := proxyRules(p.Proxy)
	if err != nil {
		return nil, err
	}
	through, err := p.through()
	if err != nil {
		return nil, err
	}
	tunnel := &tunnel{proxy: p.Proxy, dialer: newDialer(&p, toProxy), trust: p.RootCAs}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		t, err := parseTarget(addr)
		if err == nil {
			err = rules.checkSpelled(addr, t)
		}
		switch {
		case err != nil:
			return nil, err
		case !through(t):
			return direct.dial(ctx, network, addr)
		}
		return tunnel.dial(ctx, t)
	}, nil
}

// dialer connects to what the rules allow.
type dialer struct {
	rules      *rules
	timeout    time.Duration
	resolver   *net.Resolver
	connecting func(addr string) error // see Policy
}

func newDialer(p *Policy, r *rules) *dialer {
	return &dialer{rules: r, timeout: p.dialTimeout(), resolver: p.Resolver, connecting: p.connecting}
}

// dial is the last to look at an address: it does so after names were resolved,
// at each address that is tried.
func (d *dialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if network != "tcp" && network != "tcp4" && network != "tcp6" {
		return nil, &RefusedError{Host: addr, Reason: "not of the internet, but of the network " + network}
	}
	t, err := parseTarget(addr)
	if err != nil {
		return nil, err
	}
	if t.addr.IsValid() {
		if err := d.rules.checkSpelled(addr, t); err != nil {
			return nil, err
		}
	}
	anywhere := d.rules.allowsName(t)
	n := net.Dialer{Timeout: d.timeout, KeepAlive: 30 * time.Second, Resolver: d.resolver}
	n.ControlContext = func(_ context.Context, _, resolved string, _ syscall.RawConn) error {
		if !anywhere {
			a, err := netip.ParseAddrPort(resolved)
			if err != nil {
				return &RefusedError{Host: addr, Reason: "not an address of the internet"}
			}
			if err := d.rules.check(addr, a); err != nil {
				return err
			}
		}
		if d.connecting != nil {
			return d.connecting(resolved)
		}
		return nil
	}
	return n.DialContext(ctx, network, t.String())
}
