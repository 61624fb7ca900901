package credential

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/stayd/stayd/internal/identity/workload"
	"github.com/stayd/stayd/internal/vault"
)

// DocumentsPath is where the documents are that say what client the runtime is:
// below it a project and a way in which clients show who they are.
const DocumentsPath = "/oauth/clients/"

// ClientID is the id of the project's client with servers that read documents, and
// the URL of its document. Another project is another client, so that none has the
// grants of the other.
func ClientID(publicURL, project, auth string) string {
	return publicURL + DocumentsPath + project + "/" + auth
}

// Document is what the runtime says of a client that it is
// (draft-ietf-oauth-client-id-metadata-document).
type Document struct {
	ClientID     string   `json:"client_id" doc:"The URL of the document."`
	Name         string   `json:"client_name"`
	URI          string   `json:"client_uri"`
	RedirectURIs []string `json:"redirect_uris"`
	Grants       []string `json:"grant_types"`
	Responses    []string `json:"response_types"`
	Auth         string   `json:"token_endpoint_auth_method" enum:"none,private_key_jwt"`
	KeySet       string   `json:"jwks_uri,omitempty" doc:"Where the keys of private_key_jwt are."`
}

// Document returns the document of the project's client that shows who it is in
// this way; nil where there is none. A project that is not there has the same as one
// that is. The error is that of a signing key which cannot be had now.
func (s *Source) Document(ctx context.Context, project, auth string) (*Document, error) {
	d := &Document{
		ClientID: ClientID(s.cfg.PublicURL, project, auth), Name: clientName, URI: s.cfg.PublicURL, RedirectURIs: []string{s.redirectURI()},
		Grants: grants(), Responses: []string{"code"}, Auth: auth,
	}
	switch auth {
	case vault.ClientNone:
		return d, nil
	case vault.ClientKey:
		algorithm, err := s.algorithm(ctx)
		if err != nil || algorithm == "" {
			return nil, err
		}
		d.KeySet = s.cfg.Issuer.KeysURL()
		return d, nil
	}
	return nil, nil
}

// errNoKey is a signing key that there is, and that cannot be had now.
var errNoKey = errors.New("the key by which clients sign cannot be had")

// algorithm is that of the signing key; empty where the runtime signs nothing.
func (s *Source) algorithm(ctx context.Context) (string, error) {
	algorithm, err := s.cfg.Issuer.SigningAlgorithm(ctx)
	var off *workload.OffError
	switch {
	case errors.As(err, &off):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("%w: %w", errNoKey, err)
	}
	return algorithm, nil
}

// documented is the project's client as a document, where the authorization server
// reads these; nil where it does not, or where it would not find the document and
// registers clients too.
func (s *Source) documented(ctx context.Context, project string, d *discovered) (*registered, error) {
	if !d.Documents || !strings.HasPrefix(s.cfg.PublicURL, "https://") {
		return nil, nil
	}
	auth := vault.ClientNone
	signs, err := s.signsFor(ctx, d)
	if err != nil {
		return nil, err
	}
	if signs {
		auth = vault.ClientKey
	}
	id := ClientID(s.cfg.PublicURL, project, auth)
	if d.Registration != "" {
		if err := s.findDocument(ctx, id); err != nil {
			s.cfg.Log.Info("a client is registered, as its document cannot be read from outside", "issuer", d.Issuer, "document", id, "error", err)
			return nil, nil
		}
	}
	return &registered{ID: id, Auth: auth, documented: true}, nil
}

// signsFor reports whether the server takes what the key of the runtime signs.
func (s *Source) signsFor(ctx context.Context, d *discovered) (bool, error) {
	if !slices.Contains(d.ClientAuth, vault.ClientKey) {
		return false, nil
	}
	algorithm, err := s.algorithm(ctx)
	return algorithm != "" && (len(d.Algorithms) == 0 || slices.Contains(d.Algorithms, algorithm)), err
}

// findDocument reads a document of the runtime's own as others do, who are not where
// the runtime is: a name may lead to another address there.
func (s *Source) findDocument(ctx context.Context, id string) error {
	data, err := fetch(ctx, s.cfg.Outside, id)
	if err != nil {
		return err
	}
	var found Document
	if json.Unmarshal(data, &found) != nil || found.ClientID != id {
		return errors.New("something else is there")
	}
	return nil
}
