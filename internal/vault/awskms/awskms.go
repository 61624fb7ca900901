// Package awskms has the master key of vaults in AWS's Key Management Service,
// which it never leaves. What is wrapped is bound to its encryption context.
package awskms

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"github.com/stayd/stayd/internal/outbound"
	"github.com/stayd/stayd/internal/outbound/awsconfig"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/vault"
)

// Config says which key.
type Config struct {
	Key      string // ARN, id or alias/NAME of a symmetric key
	Region   string // empty: what the environment says
	Endpoint string // of another service than AWS; empty is AWS
	Outbound outbound.Policy
}

// Keys are the keys of a service. They are a vault.Master.
type Keys struct {
	client *kms.Client
	key    string

	mu     sync.Mutex
	opened map[[sha256.Size]byte]opened // by what was unwrapped
}

// opened is a data key that the service has decrypted, which is used again for
// openFor: every call of a server opens a vault.
type opened struct {
	key   []byte
	until time.Time
}

const (
	openFor  = 5 * time.Minute
	openMost = 1024 // keys
)

// New has the key of the configuration. Credentials are those of the
// environment, as the AWS SDK finds them; they need the rights kms:DescribeKey,
// kms:Encrypt and kms:Decrypt. Nothing is asked of the service yet.
func New(ctx context.Context, c Config) (*Keys, error) {
	if c.Key == "" {
		return nil, errors.New("the master key in AWS KMS has no name")
	}
	loaded, err := awsconfig.Load(ctx, awsconfig.Source{Region: c.Region, Endpoint: c.Endpoint, Outbound: c.Outbound})
	if err != nil {
		return nil, fmt.Errorf("set up AWS KMS: %w", err)
	}
	client := kms.NewFromConfig(loaded, func(o *kms.Options) {
		if c.Endpoint != "" {
			o.BaseEndpoint = aws.String(c.Endpoint)
		}
	})
	return &Keys{client: client, key: c.Key, opened: map[[sha256.Size]byte]opened{}}, nil
}

// bound is the encryption context. It is in AWS's trail in the clear: ids of a
// project and a vault.
func bound(associated []byte) map[string]string {
	return map[string]string{"stayd": base64.StdEncoding.EncodeToString(associated)}
}

// Current is the ARN of the key.
func (k *Keys) Current(ctx context.Context) (string, error) {
	out, err := k.client.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &k.key})
	if err != nil {
		return "", failed(err, k.key)
	}
	if out.KeyMetadata == nil || out.KeyMetadata.Arn == nil {
		return "", fmt.Errorf("AWS KMS does not say what the ARN of %s is", k.key)
	}
	return *out.KeyMetadata.Arn, nil
}

// Wrap has the service encrypt.
func (k *Keys) Wrap(ctx context.Context, dataKey, associated []byte) (string, []byte, error) {
	out, err := k.client.Encrypt(ctx, &kms.EncryptInput{KeyId: &k.key, Plaintext: dataKey, EncryptionContext: bound(associated)})
	if err != nil {
		return "", nil, failed(err, k.key)
	}
	return aws.ToString(out.KeyId), out.CiphertextBlob, nil
}

// Unwrap has the service decrypt, or returns what it has decrypted a short time
// ago: a right that is taken away in AWS, or a key that is disabled there, counts
// from openFor later on.
func (k *Keys) Unwrap(ctx context.Context, id string, wrapped, associated []byte) ([]byte, error) {
	what := whole([]byte(id), wrapped, associated)
	if key := k.recall(what); key != nil {
		return key, nil
	}
	key, err := k.unwrap(ctx, id, wrapped, associated)
	if err == nil {
		k.keep(what, key)
	}
	return key, err
}

// whole stands for all of the parts.
func whole(parts ...[]byte) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, p := range parts {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(p))))
		h.Write(p)
	}
	h.Sum(sum[:0])
	return sum
}

func (k *Keys) recall(what [sha256.Size]byte) []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	if o, ok := k.opened[what]; ok && time.Now().Before(o.until) {
		return slices.Clone(o.key)
	}
	return nil
}

func (k *Keys) keep(what [sha256.Size]byte, key []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.opened) >= openMost {
		clear(k.opened)
	}
	k.opened[what] = opened{key: slices.Clone(key), until: time.Now().Add(openFor)}
}

func (k *Keys) unwrap(ctx context.Context, id string, wrapped, associated []byte) ([]byte, error) {
	out, err := k.client.Decrypt(ctx, &kms.DecryptInput{KeyId: &id, CiphertextBlob: wrapped, EncryptionContext: bound(associated)})
	if err != nil {
		return nil, failed(err, id)
	}
	return out.Plaintext, nil
}

// failed says what an error of the service means.
func failed(err error, id string) error {
	var (
		ciphertext *types.InvalidCiphertextException
		other      *types.IncorrectKeyException
		unknown    *types.NotFoundException
		disabled   *types.DisabledException
		state      *types.KMSInvalidStateException
		api        smithy.APIError
	)
	switch {
	case errors.As(err, &ciphertext), errors.As(err, &other):
		return fmt.Errorf("it was not encrypted for this vault under the master key %s: %w", id, store.ErrCorrupt)
	case errors.As(err, &unknown), errors.As(err, &disabled), errors.As(err, &state):
		return &vault.NoKeyError{ID: id, Where: "AWS KMS, or cannot be used there"}
	case errors.As(err, &api):
		return fmt.Errorf("AWS KMS refuses the master key %s: %w", id, err)
	}
	return fmt.Errorf("ask AWS KMS for the master key %s: %w: %w", id, err, store.ErrUnavailable)
}
