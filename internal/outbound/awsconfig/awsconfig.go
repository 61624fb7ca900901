// Package awsconfig finds AWS's regions and credentials where AWS's own tools
// find them, and has what is asked for on the way go by the rules for all that
// leaves: but for a machine's own metadata, which the SDK asks by itself. It knows no
// service.
package awsconfig

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"

	"github.com/stayd/stayd/internal/outbound"
)

// metadata are the addresses on which machines and containers of AWS are told
// their credentials: EC2, ECS and EKS.
var metadata = []string{
	"169.254.169.254:80", "[fd00:ec2::254]:80", "169.254.170.2:80", "169.254.170.23:80", "[fd00:ec2::23]:80",
}

// endpoints are other places that the environment names, for credentials and for
// services.
func endpoints() (named []string) {
	for _, variable := range os.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		if name == "AWS_EC2_METADATA_SERVICE_ENDPOINT" || name == "AWS_CONTAINER_CREDENTIALS_FULL_URI" || strings.HasPrefix(name, "AWS_ENDPOINT_URL") {
			named = append(named, value)
		}
	}
	return named
}

// dialTimeout bounds the connections for credentials. It is short, as on machines
// that are not AWS's nobody may answer.
const dialTimeout = 3 * time.Second

// Source says what is to be reached, and by which rules.
type Source struct {
	Region   string // empty: what the environment says
	Profile  string // of the shared files; empty: what the environment says
	Endpoint string // of a service like AWS's; empty is AWS
	Outbound outbound.Policy
}

// Load finds the region and the credentials. Nothing is asked of anybody yet but
// what the environment says. The client of the configuration follows the policy;
// the endpoint, those that the environment names, and where AWS has credentials may
// be anywhere, as nobody but the operator asks for them. A signature is for one host,
// so no redirect is followed. Requests for credentials are by the rules too, but
// nothing is put around them.
func Load(ctx context.Context, s Source) (aws.Config, error) {
	p := s.policy()
	finding := p
	finding.DialTimeout = dialTimeout
	dial, err := outbound.NewDialer(finding)
	if err != nil {
		return aws.Config{}, err
	}
	// What finds credentials takes no client but one of the SDK's own.
	finds := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) { t.DialContext, t.Proxy = dial, nil })
	loaded, err := config.LoadDefaultConfig(ctx, config.WithRegion(s.Region), config.WithSharedConfigProfile(s.Profile), config.WithHTTPClient(finds))
	if err != nil {
		return aws.Config{}, err
	}
	// AWS_CA_BUNDLE and the shared files may say whom to trust.
	if trusts, ok := loaded.HTTPClient.(*awshttp.BuildableClient); ok {
		if c := trusts.GetTransport().TLSClientConfig; c != nil {
			p.RootCAs = c.RootCAs
		}
	}
	loaded.HTTPClient, err = outbound.New(p)
	return loaded, err
}

func (s *Source) policy() outbound.Policy {
	p := s.Outbound
	p.Allow, p.Direct = slices.Concat(p.Allow, metadata), slices.Clone(p.Direct)
	if p.Proxy != nil {
		p.Direct = append(p.Direct, metadata...)
	}
	for _, named := range append(endpoints(), s.Endpoint) {
		if u, err := url.Parse(named); err == nil && u.Host != "" {
			p.Allow = append(p.Allow, u.Host)
		}
	}
	p.MaxRedirects = -1
	return p
}
