package app

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/egress"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/outbound"
	"github.com/stayd/stayd/internal/tool"
)

// What environments may be given of the network.
const (
	NetworkNone       = "none"
	NetworkRestricted = event.NetworkRestricted
	NetworkEnabled    = event.NetworkEnabled
)

// egressOpener makes the way of one environment's programs to the network.
type egressOpener = func(*event.Network, *environment.Secrets, func(event.EgressRequest)) (environment.Proxy, error)

// openEgress returns how the programs of environments reach the network.
func openEgress(cfg *Config) (egressOpener, error) {
	dial, err := outbound.NewDialer(cfg.outside(toEnvironment))
	if err != nil {
		return nil, fmt.Errorf("allow-outbound: %w", err)
	}
	return func(n *event.Network, secrets *environment.Secrets, record func(event.EgressRequest)) (environment.Proxy, error) {
		if err := cfg.allowNetwork(n.Access); err != nil {
			return nil, err
		}
		return egress.New(egress.Policy{Access: n.Access, Allowed: n.Allowed, Blocked: n.Blocked}, secrets, dial, func(r egress.Request) {
			if cfg.sent != nil {
				cfg.sent.observe(toEnvironment, r.Status, !r.Allowed, time.Duration(r.DurationMS)*time.Millisecond)
			}
			record(event.EgressRequest{
				At: r.At.UTC(), Method: r.Method, Host: r.Host, Port: int(r.Port), Path: r.Path, Allowed: r.Allowed, Reason: r.Reason,
				Status: r.Status, BytesUp: r.BytesUp, BytesDown: r.BytesDown, DurationMS: r.DurationMS,
			})
		})
	}, nil
}

// secrets returns those of the caller's vaults that programs of its environment
// may have sent.
func (a *App) secrets(ctx context.Context, c tool.Caller) ([]environment.Secret, error) {
	opened, err := a.vaults.OpenEnvironment(ctx, c.Project, c.Vaults, c.Actor)
	if err != nil {
		return nil, err
	}
	found := make([]environment.Secret, len(opened))
	for i := range opened {
		o := &opened[i]
		found[i] = environment.Secret{ID: o.ID, Name: o.Auth.SecretName, Value: o.Secrets.Token, Hosts: o.Auth.AllowedHosts}
	}
	return found, nil
}

// allowNetwork returns an error, whose text is shown, for an access that the
// operator does not give.
func (c *Config) allowNetwork(access string) error {
	order := []string{NetworkNone, NetworkRestricted, NetworkEnabled}
	if rank(order, access) <= rank(order, c.Network) {
		return nil
	}
	return fmt.Errorf("this server gives environments no network access %q, only %q; its operator may allow more with --environment-network", access, c.Network)
}

func rank(order []string, s string) int {
	for i := range order {
		if order[i] == s {
			return i
		}
	}
	return len(order)
}

// checkNetwork reports what is wrong with an access.
func checkNetwork(access string) error {
	if access != NetworkNone && access != NetworkRestricted && access != NetworkEnabled {
		return fmt.Errorf("environment-network %q is none of %s", access, strings.Join([]string{NetworkNone, NetworkRestricted, NetworkEnabled}, ", "))
	}
	return nil
}
