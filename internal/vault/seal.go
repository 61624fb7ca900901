package vault

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/store"
)

// savedKey is what the store has of a vault's data key.
type savedKey struct {
	Master  string `json:"master"`  // id of the master key
	Wrapped []byte `json:"wrapped"` // a Tink keyset, encrypted under it
	// Deleted is set when the vault was deleted and the key with it.
	Deleted bool `json:"deleted,omitempty"`
}

// keysProject is the project of data keys. No client has it.
const keysProject = ""

func keyID(project, vault string) string { return project + "/" + vault }

// associated joins what a ciphertext is bound to, so that no two lists are alike.
func associated(parts ...string) []byte {
	var b []byte
	for _, p := range parts {
		b = binary.AppendUvarint(b, uint64(len(p)))
		b = append(b, p...)
	}
	return b
}

func keyBinding(project, vault string) []byte {
	return associated("stayd vault key 1", project, vault)
}

// binding is what the secrets of a credential are sealed with: where they belong,
// and where they may be sent.
func binding(project, vault, credential string, a *Auth) ([]byte, error) {
	use, err := json.Marshal(a)
	if err != nil {
		return nil, fmt.Errorf("encode how the credential is used: %w", err)
	}
	return associated("stayd credential 1", project, vault, credential, string(use)), nil
}

// dataKey returns the data key of a vault. One that is not there is made where
// create is set, and is otherwise store.ErrCorrupt: what was sealed under it is
// lost.
func (v *Vaults) dataKey(ctx context.Context, project, vault string, create bool) (tink.AEAD, error) {
	row, err := v.store.Object(ctx, keysProject, store.KindVaultKey, keyID(project, vault))
	if errors.Is(err, store.ErrNotFound) {
		if !create {
			return nil, fmt.Errorf("the data key of vault %s is gone: %w", vault, store.ErrCorrupt)
		}
		return v.newDataKey(ctx, project, vault)
	}
	if err != nil {
		return nil, fmt.Errorf("read the data key of vault %s: %w", vault, err)
	}
	key, err := v.unwrap(ctx, project, vault, &row)
	var gone *NoKeyError
	if !errors.As(err, &gone) {
		return key, err
	}
	// It may have been wrapped anew since it was read, and the old master key be gone.
	now, readErr := v.store.Object(ctx, keysProject, store.KindVaultKey, row.ID)
	if readErr != nil || now.Version == row.Version {
		return nil, err
	}
	return v.unwrap(ctx, project, vault, &now)
}

func (v *Vaults) newDataKey(ctx context.Context, project, vault string) (tink.AEAD, error) {
	handle, err := keyset.NewHandle(aead.XChaCha20Poly1305KeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("make a data key: %w", err)
	}
	var plain bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewBinaryWriter(&plain)); err != nil {
		return nil, fmt.Errorf("make a data key: %w", err)
	}
	v.wrapping.RLock()
	defer v.wrapping.RUnlock()
	saved, err := v.wrap(ctx, project, vault, plain.Bytes())
	if err != nil {
		return nil, err
	}
	_, err = v.insert(ctx, keysProject, store.KindVaultKey, keyID(project, vault), saved)
	if errors.Is(err, store.ErrConflict) {
		return v.dataKey(ctx, project, vault, false)
	}
	if err != nil {
		return nil, fmt.Errorf("store the data key of vault %s: %w", vault, err)
	}
	return aead.New(handle)
}

// wrap encrypts a data key under the current master key.
func (v *Vaults) wrap(ctx context.Context, project, vault string, plain []byte) (*savedKey, error) {
	id, wrapped, err := v.master.Wrap(ctx, plain, keyBinding(project, vault))
	if err != nil {
		return nil, fmt.Errorf("encrypt the data key of vault %s: %w", vault, err)
	}
	return &savedKey{Master: id, Wrapped: wrapped}, nil
}

func (v *Vaults) unwrap(ctx context.Context, project, vault string, row *store.Object) (tink.AEAD, error) {
	saved, err := decode[savedKey](row)
	if err != nil {
		return nil, err
	}
	if saved.Deleted {
		return nil, &NotFoundError{What: "vault", ID: vault}
	}
	plain, err := v.master.Unwrap(ctx, saved.Master, saved.Wrapped, keyBinding(project, vault))
	if err != nil {
		return nil, fmt.Errorf("decrypt the data key of vault %s: %w", vault, err)
	}
	handle, err := insecurecleartextkeyset.Read(keyset.NewBinaryReader(bytes.NewReader(plain)))
	if err != nil {
		return nil, fmt.Errorf("read the data key of vault %s: %w: %w", vault, err, store.ErrCorrupt)
	}
	return aead.New(handle)
}

// sealed is what is encrypted of a credential. The requests are among it because
// their hashes are of bodies that have secrets in them.
type sealed struct {
	Token        string        `json:"token"`
	RefreshToken string        `json:"refresh_token,omitempty"`
	ClientSecret string        `json:"client_secret,omitempty"`
	Created      event.Input   `json:"created"`
	Updated      []event.Input `json:"updated,omitempty"`
}

func (s *sealed) secrets() Secrets {
	return Secrets{Token: Secret{s.Token}, RefreshToken: Secret{s.RefreshToken}, ClientSecret: Secret{s.ClientSecret}}
}

// savedCredential is what the store has of a credential.
type savedCredential struct {
	Name     string            `json:"name"`
	Metadata map[string]string `json:"metadata,omitempty"`
	Auth     Auth              `json:"auth"`
	Sealed   []byte            `json:"sealed"`
	Claim    *claim            `json:"claim,omitempty"` // of who renews its tokens
}

func (c *savedCredential) seal(key tink.AEAD, project, vault, id string, s *sealed) error {
	bound, err := binding(project, vault, id, &c.Auth)
	if err != nil {
		return err
	}
	plain, err := json.Marshal(s) //nolint:gosec // it is encrypted in the next step
	if err != nil {
		return fmt.Errorf("encode the secrets of credential %s: %w", id, err)
	}
	if c.Sealed, err = key.Encrypt(plain, bound); err != nil {
		return fmt.Errorf("encrypt the secrets of credential %s: %w", id, err)
	}
	return nil
}

// open decrypts. The error is store.ErrCorrupt where the secrets are not those of
// this credential, or it was made to be sent elsewhere.
func (c *savedCredential) open(key tink.AEAD, project, vault, id string) (*sealed, error) {
	bound, err := binding(project, vault, id, &c.Auth)
	if err != nil {
		return nil, err
	}
	plain, err := key.Decrypt(c.Sealed, bound)
	if err != nil {
		return nil, fmt.Errorf("the secrets of credential %s are not what was stored for it: %w", id, store.ErrCorrupt)
	}
	s := &sealed{}
	if err := json.Unmarshal(plain, s); err != nil {
		return nil, fmt.Errorf("the secrets of credential %s cannot be read: %w", id, store.ErrCorrupt)
	}
	return s, nil
}
