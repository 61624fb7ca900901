// Package awskms has a key that signs tokens in AWS's Key Management Service,
// which it never leaves.
package awskms

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"github.com/stayd/stayd/internal/identity/workload"
	"github.com/stayd/stayd/internal/outbound"
	"github.com/stayd/stayd/internal/outbound/awsconfig"
	"github.com/stayd/stayd/internal/store"
)

// Config says where the service is.
type Config struct {
	Region   string // of keys whose name is no ARN; empty: what the environment says
	Endpoint string // of another service than AWS; empty is AWS
	Outbound outbound.Policy
}

// Service has keys. It is safe for use by many goroutines.
type Service struct {
	client *kms.Client

	mu   sync.Mutex
	keys map[string]*Key // by ARN
}

// New has the keys of a service. Credentials are those of the environment, as the
// AWS SDK finds them; they need the rights kms:GetPublicKey and kms:Sign. Nothing is
// asked of the service yet.
func New(ctx context.Context, c Config) (*Service, error) {
	loaded, err := awsconfig.Load(ctx, awsconfig.Source{Region: c.Region, Endpoint: c.Endpoint, Outbound: c.Outbound})
	if err != nil {
		return nil, fmt.Errorf("set up AWS KMS: %w", err)
	}
	client := kms.NewFromConfig(loaded, func(o *kms.Options) {
		if c.Endpoint != "" {
			o.BaseEndpoint = aws.String(c.Endpoint)
		}
	})
	return &Service{client: client, keys: map[string]*Key{}}, nil
}

// Open returns the key with the ARN, id or alias/NAME, and its ARN. Only by the ARN
// is a key found that was opened before; what else leads to one may lead to another
// later, and the service is asked.
func (s *Service) Open(ctx context.Context, name string) (workload.Signer, string, error) {
	s.mu.Lock()
	known := s.keys[name]
	s.mu.Unlock()
	if known != nil {
		return known, name, nil
	}
	out, err := s.client.GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: &name}, regionOf(name))
	if err != nil {
		return nil, "", failed("ask AWS KMS for the signing key", name, err)
	}
	arn := aws.ToString(out.KeyId)
	if arn == "" {
		return nil, "", fmt.Errorf("AWS KMS does not say what the ARN of %s is", name)
	}
	parsed, err := x509.ParsePKIXPublicKey(out.PublicKey)
	if err != nil {
		return nil, "", fmt.Errorf("read the public key of %s: %w", arn, err)
	}
	public, ok := parsed.(*ecdsa.PublicKey)
	if !ok || public.Curve != elliptic.P256() || out.KeyUsage != types.KeyUsageTypeSignVerify {
		return nil, "", fmt.Errorf("the key %s is %s for %s: make one of ECC_NIST_P256 for SIGN_VERIFY", arn, out.KeySpec, out.KeyUsage)
	}
	k := &Key{client: s.client, arn: arn, public: public}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[arn] = k
	return k, arn, nil
}

// regionOf has the service of the key's own region asked, where its name says which
// that is: arn:aws:kms:REGION:ACCOUNT:key/ID.
func regionOf(name string) func(*kms.Options) {
	return func(o *kms.Options) {
		if parts := strings.Split(name, ":"); len(parts) == 6 && parts[0] == "arn" && parts[3] != "" {
			o.Region = parts[3]
		}
	}
}

// Key is a key on P-256. It is a workload.Signer.
type Key struct {
	client *kms.Client
	arn    string
	public *ecdsa.PublicKey
}

// Public is the public part.
func (k *Key) Public() crypto.PublicKey { return k.public }

// Algorithm is ES256.
func (k *Key) Algorithm() string { return workload.ES256 }

// Sign has the service sign the digest of the message.
func (k *Key) Sign(ctx context.Context, message []byte) ([]byte, error) {
	digest := sha256.Sum256(message)
	out, err := k.client.Sign(ctx, &kms.SignInput{
		KeyId: &k.arn, Message: digest[:], MessageType: types.MessageTypeDigest, SigningAlgorithm: types.SigningAlgorithmSpecEcdsaSha256,
	}, regionOf(k.arn))
	if err != nil {
		return nil, failed("have AWS KMS sign by", k.arn, err)
	}
	return joined(out.Signature)
}

// failed is what the service refuses, or store.ErrUnavailable where it does not
// answer.
func failed(doing, name string, err error) error {
	var api smithy.APIError
	if errors.As(err, &api) {
		return fmt.Errorf("%s %s: %w", doing, name, err)
	}
	return fmt.Errorf("%s %s: %w: %w", doing, name, err, store.ErrUnavailable)
}

// joined turns a signature from the form that AWS has it in (ASN.1) to that of JWS.
func joined(der []byte) ([]byte, error) {
	const bytes = 32
	var pair struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(der, &pair)
	if err != nil || len(rest) > 0 || pair.R.Sign() <= 0 || pair.S.Sign() <= 0 || pair.R.BitLen() > 8*bytes || pair.S.BitLen() > 8*bytes {
		return nil, errors.New("AWS KMS answered with what is no signature")
	}
	return append(pair.R.FillBytes(make([]byte, bytes)), pair.S.FillBytes(make([]byte, bytes))...), nil
}
