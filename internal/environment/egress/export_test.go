package egress

import "time"

// KeepSecrets sets how long secrets are not asked for again.
func (x *Proxy) KeepSecrets(d time.Duration) { x.ring.kept = d }
