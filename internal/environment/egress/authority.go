package egress

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"sync"
	"time"
)

// How long certificates are valid: those of hosts are made anew before they end.
const (
	authorityValid = 60 * 24 * time.Hour
	hostValid      = 7 * 24 * time.Hour
	clockSkew      = time.Hour
)

// authority makes certificates for the hosts whose connections are opened on their
// way. It belongs to one opening of an environment, and is kept in memory alone.
type authority struct {
	key   *ecdsa.PrivateKey
	cert  *x509.Certificate
	leaf  *ecdsa.PrivateKey // of all hosts
	roots []byte            // what programs have to trust, in PEM
	// servers are the authorities that servers are verified by: those that programs
	// would trust without it. Nil are those that package x509 finds.
	servers *x509.CertPool

	mu    sync.Mutex
	hosts map[string]*tls.Certificate
}

// maxHosts is how many certificates are kept.
const maxHosts = 256

func newAuthority() (*authority, error) {
	a := &authority{hosts: map[string]*tls.Certificate{}}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	if a.leaf, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "Stayd, for this environment alone"},
		NotBefore: time.Now().Add(-clockSkew), NotAfter: time.Now().Add(authorityValid),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, fmt.Errorf("read a certificate: %w", err)
	}
	a.roots = machineRoots()
	if pool := x509.NewCertPool(); pool.AppendCertsFromPEM(a.roots) {
		a.servers = pool
	}
	a.roots = append(a.roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	return a, nil
}

func serial() *big.Int {
	b := make([]byte, 16)
	rand.Read(b)
	b[0] &= 0x7f     // not negative
	b[len(b)-1] |= 1 // not zero
	return new(big.Int).SetBytes(b)
}

// certificate returns one for the host.
func (a *authority) certificate(t target) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.hosts[t.host]; c != nil && time.Until(c.Leaf.NotAfter) > hostValid/2 {
		return c, nil
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{Organization: []string{"Stayd"}},
		NotBefore: time.Now().Add(-clockSkew), NotAfter: time.Now().Add(hostValid),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	if t.addr.IsValid() {
		template.IPAddresses = []net.IP{t.addr.AsSlice()}
	} else {
		template.DNSNames = []string{t.host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, a.leaf.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate for %s: %w", t.host, err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read a certificate for %s: %w", t.host, err)
	}
	if len(a.hosts) >= maxHosts {
		clear(a.hosts)
	}
	c := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.leaf, Leaf: leaf}
	a.hosts[t.host] = c
	return c, nil
}

// machineRoots are the authorities that this machine trusts, in PEM, where they
// are in one file: those of which package x509 knows.
func machineRoots() []byte {
	for _, name := range []string{
		os.Getenv("SSL_CERT_FILE"),
		"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
		"/etc/pki/tls/cacert.pem", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem",
	} {
		if name == "" {
			continue
		}
		if b, err := os.ReadFile(name); err == nil { //nolint:gosec // the operator names it
			if len(b) > 0 && b[len(b)-1] != '\n' {
				b = append(b, '\n')
			}
			return b
		}
	}
	return nil
}
