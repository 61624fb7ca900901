package outbound

// Watch returns the policy with a look at each address that is about to be
// connected to, which an error prevents.
func Watch(p Policy, connecting func(addr string) error) Policy {
	p.connecting = connecting
	return p
}
