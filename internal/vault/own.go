package vault

import (
	"context"
	"fmt"

	"github.com/stayd/stayd/internal/store"
)

// ownProject is the project of the data keys for what the runtime keeps for itself.
const ownProject = ""

func ownBinding(name string, bound []string) []byte {
	return associated(append([]string{"stayd own 1", name}, bound...)...)
}

// SealOwn encrypts what the runtime keeps for itself and no project has, under a
// data key for what is called by the name. Rewrap keeps that key with those of
// vaults. What it is bound to has to be given again to open it. The error is a
// *NoKeyError where there is no master key.
func (v *Vaults) SealOwn(ctx context.Context, name string, plain []byte, bound ...string) ([]byte, error) {
	key, err := v.dataKey(ctx, ownProject, name, true)
	if err != nil {
		return nil, err
	}
	sealed, err := key.Encrypt(plain, ownBinding(name, bound))
	if err != nil {
		return nil, fmt.Errorf("encrypt %s: %w", name, err)
	}
	return sealed, nil
}

// OpenOwn decrypts what SealOwn returned. Errors: a *NoKeyError where the master
// key is not there, store.ErrCorrupt where these bytes were not sealed by the name
// and with what they are bound to.
func (v *Vaults) OpenOwn(ctx context.Context, name string, sealed []byte, bound ...string) ([]byte, error) {
	key, err := v.dataKey(ctx, ownProject, name, false)
	if err != nil {
		return nil, err
	}
	plain, err := key.Decrypt(sealed, ownBinding(name, bound))
	if err != nil {
		return nil, fmt.Errorf("%s is not what was sealed: %w", name, store.ErrCorrupt)
	}
	return plain, nil
}
