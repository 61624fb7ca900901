// Package masters finds the master keys of vaults where the operator's setting
// says that they are.
package masters

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/stayd/stayd/internal/outbound"
	"github.com/stayd/stayd/internal/vault"
	"github.com/stayd/stayd/internal/vault/awskms"
	"github.com/stayd/stayd/internal/vault/keyfile"
)

// The forms of a setting that are not the path of a file.
const (
	inVariable = "env:"
	inKMS      = "aws-kms://"
)

// FileName is the file in the data folder where keys are that no setting names.
const FileName = "vault.keys"

// Place is where master keys are.
type Place struct {
	// Setting is the path of a file, env:VARIABLE, or
	// aws-kms://KEY?region=R&endpoint=URL. Empty is FileName in Data.
	Setting string
	Data    string // folder
	// Shared is set where what is encrypted lies elsewhere than in Data. Then an empty
	// Setting is no place, as the keys would be on one machine and what they open on
	// another.
	Shared bool
	// Outbound says what a service that keeps keys is reached by. The endpoint of a
	// setting may be anywhere.
	Outbound outbound.Policy
}

// File is the path of the file of keys, or empty where they are in none.
func (p Place) File() string {
	switch {
	case strings.HasPrefix(p.Setting, inVariable), strings.HasPrefix(p.Setting, inKMS):
		return ""
	case p.Setting != "":
		return p.Setting
	case p.Shared:
		return ""
	}
	return filepath.Join(p.Data, FileName)
}

// Open returns the keys. What is wrong with the setting is an error; that there
// is none is said when a key is first needed. A file in Data is made where it does
// not exist.
func Open(ctx context.Context, p Place) (vault.Master, error) {
	if name, ok := strings.CutPrefix(p.Setting, inVariable); ok {
		text := os.Getenv(name)
		if text == "" {
			return nil, fmt.Errorf("vault-key %q: the variable %s is empty; `stayd vaults key` makes what it should hold", p.Setting, name)
		}
		return keyfile.FromText(text, "the variable "+name)
	}
	if key, ok := strings.CutPrefix(p.Setting, inKMS); ok {
		c, err := kmsConfig(key)
		if err != nil {
			return nil, fmt.Errorf("vault-key %q: %w", p.Setting, err)
		}
		c.Outbound = p.Outbound
		return awskms.New(ctx, c)
	}
	if p.File() == "" {
		return vault.Unset("set --vault-key or STAYD_VAULT_KEY to the path of a file of keys, to env:VARIABLE or to aws-kms://KEY; `stayd vaults key` makes keys"), nil
	}
	keys, err := keyfile.Open(p.File(), p.Setting == "")
	if err != nil {
		return nil, fmt.Errorf("%w; `stayd vaults key` makes what it should hold", err)
	}
	return keys, nil
}

// kmsConfig reads KEY?region=R&endpoint=URL.
func kmsConfig(s string) (awskms.Config, error) {
	key, query, _ := strings.Cut(s, "?")
	c := awskms.Config{Key: key}
	if key == "" {
		return c, fmt.Errorf("it names no key; give an ARN, an id or alias/NAME after %s", inKMS)
	}
	q, err := url.ParseQuery(query)
	if err != nil {
		return c, fmt.Errorf("its settings cannot be read: %w", err)
	}
	for name := range q {
		switch name {
		case "region":
			c.Region = q.Get(name)
		case "endpoint":
			c.Endpoint = q.Get(name)
		default:
			return c, fmt.Errorf("there is no setting %q, only region and endpoint", name)
		}
	}
	// The ARN of a key says where it is: arn:aws:kms:REGION:ACCOUNT:key/ID.
	if parts := strings.Split(key, ":"); c.Region == "" && len(parts) == 6 {
		c.Region = parts[3]
	}
	return c, nil
}
