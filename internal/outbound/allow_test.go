package outbound_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"testing"

	"github.com/stayd/stayd/internal/outbound"
)

func TestAllow(t *testing.T) {
	s := server(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	tests := []struct {
		allow, host string
		ok          bool
	}{
		{"127.0.0.0/8", "127.0.0.1", true},
		{"127.0.0.1", "127.0.0.1", true},
		{"127.0.0.1", "[::ffff:127.0.0.1]", true},
		{"127.0.0.1:" + port, "127.0.0.1", true},
		{"127.0.0.1:1", "127.0.0.1", false},
		{"localhost", "localhost", true},
		{"LocalHost.", "localhost", true},
		{"localhost:" + port, "localhost", true},
		{"localhost:1", "localhost", false},
		// A name is allowed by its name; the address it has is not.
		{"localhost", "127.0.0.1", false},
		{"10.0.0.0/8", "127.0.0.1", false},
	}
	for _, tt := range tests {
		t.Run(tt.allow+" "+tt.host, func(t *testing.T) {
			c := client(t, outbound.Policy{Allow: []string{tt.allow}})
			_, err := get(t, c, "http://"+tt.host+":"+port) //nolint:bodyclose // get closes it
			if ok := err == nil; ok != tt.ok {
				t.Errorf("reached: %v (%v), want %v", ok, err, tt.ok)
			}
		})
	}
}

func TestBadAllow(t *testing.T) {
	for allow, says := range map[string]string{
		"":                         "it is " + notAHost,
		" ":                        "it is " + notAHost,
		"a b":                      "it is " + notAHost,
		"a@b":                      "it is " + notAHost,
		":80":                      "it is " + notAHost,
		"[]":                       "it is " + notAHost,
		"[localhost":               "it is " + notAHost,
		"a:b:c":                    "it is not a host, an address or a prefix",
		"[::1]]:80":                "it is not a host, an address or a prefix",
		"300.1.1.1":                "it is " + notAHost,
		"localhost:0":              `the port "0" is not a number from 1 to 65535`,
		"localhost:":               `the port "" is not a number from 1 to 65535`,
		"localhost:http":           `the port "http" is not a number from 1 to 65535`,
		"localhost:65536":          `the port "65536" is not a number from 1 to 65535`,
		"*.internal":               "there are no patterns of names; write each name, or a prefix of addresses",
		"10.0.0.*":                 "there are no patterns of names; write each name, or a prefix of addresses",
		"http://localhost":         "it is neither a prefix nor a host; leave out the scheme and the path",
		"localhost/path":           "it is neither a prefix nor a host; leave out the scheme and the path",
		"10.0.0.0/33":              "it is neither a prefix nor a host; leave out the scheme and the path",
		"10.0.0.0/255.0.0.0":       "it is neither a prefix nor a host; leave out the scheme and the path",
		"10.0.0.0/8:80":            "it is neither a prefix nor a host; leave out the scheme and the path",
		"fe80::%eth0/10":           "it is neither a prefix nor a host; leave out the scheme and the path",
		"10.1.2.3/8":               "it is an address within a prefix; write 10.0.0.0/8, if all of that is meant",
		"::ffff:10.0.0.0/104":      "write the prefix in its IPv4 form",
		"fe80::1%eth0":             "an address is allowed on all links; leave out the zone",
		"[fe80::1%eth0]:80":        "an address is allowed on all links; leave out the zone",
		"::1%eth0":                 "it is an address with a zone, which only link-local ones have",
		"127.1":                    "it is an old spelling; write 127.0.0.1, if that is meant",
		"0177.0.0.1:80":            "it is an old spelling; write 127.0.0.1, if that is meant",
		"2130706433":               "it is an old spelling; write 127.0.0.1, if that is meant",
		"127.0.0.1.":               "it is an old spelling; write 127.0.0.1, if that is meant",
		"\uff11\uff12\uff17.0.0.1": "it is an old spelling; write 127.0.0.1, if that is meant",
		name254:                    "it is longer than a name may be",
	} {
		for name, err := range map[string]error{
			"client": func() error {
				_, err := outbound.New(outbound.Policy{Allow: []string{"10.0.0.0/8", allow}})
				return err
			}(),
			"dialer": func() error { _, err := outbound.NewDialer(outbound.Policy{Allow: []string{allow}}); return err }(),
		} {
			want := fmt.Sprintf("allowed address %.100q: %s", allow, says)
			if err == nil || err.Error() != want {
				t.Errorf("%s: got %v, want %s", name, err, want)
			}
		}
	}
}

// An allowed range ends where it ends, and an allowed port is that port.
func TestAllowedRangesEnd(t *testing.T) {
	for _, tt := range []struct {
		allow   string
		inside  []string
		outside []string
	}{
		{"10.1.0.0/16", []string{"10.1.0.0:80", "10.1.255.255:80"}, []string{"10.0.255.255:80", "10.2.0.0:80"}},
		{"192.168.1.1/32", []string{"192.168.1.1:80"}, []string{"192.168.1.0:80", "192.168.1.2:80"}},
		{"192.168.1.1", []string{"192.168.1.1:80", "192.168.1.1:22"}, []string{"192.168.1.2:80"}},
		{"192.168.1.1:80", []string{"192.168.1.1:80"}, []string{"192.168.1.1:81", "192.168.1.1:443", "192.168.1.2:80"}},
		{"::ffff:192.168.1.1", []string{"192.168.1.1:80"}, []string{"192.168.1.2:80"}},
		{"[::ffff:192.168.1.1]:80", []string{"192.168.1.1:80"}, []string{"192.168.1.1:81"}},
		{"fd00:1::/32", []string{"[fd00:1::]:80", "[fd00:1:ffff::1]:80"}, []string{"[fd00:2::]:80", "[fd00::1]:80"}},
		{"[fd00::1]", []string{"[fd00::1]:80", "[fd00::1]:22"}, []string{"[fd00::2]:80"}},
		{"[fd00::1]:80", []string{"[fd00::1]:80"}, []string{"[fd00::1]:81", "[fd00::2]:80"}},
		{"0.0.0.0/0", []string{"127.0.0.1:80", "10.0.0.1:80"}, []string{"[::1]:80", "[fd00::1]:80", "[64:ff9b::a00:1]:80"}},
		{"::/0", []string{"[::1]:80", "[fd00::1]:80"}, []string{"127.0.0.1:80", "10.0.0.1:80"}},
		// That an address may be reached does not say by whose translator.
		{"10.0.0.0/8", []string{"10.0.0.1:80"}, []string{"[64:ff9b::a00:1]:80", "[2002:a00:1::]:80", "[::a00:1]:80"}},
	} {
		c := watched(t, outbound.Policy{Allow: []string{tt.allow}})
		for _, addr := range tt.inside {
			_, err := get(t, c, "http://"+addr+"/") //nolint:bodyclose // get closes it
			wantReached(t, err, tt.allow, addr)
		}
		for _, addr := range tt.outside {
			_, err := get(t, c, "http://"+addr+"/") //nolint:bodyclose // get closes it
			var refused *outbound.RefusedError
			if !errors.As(err, &refused) || refused.Addr.String() != addr {
				t.Errorf("%s: %s: got %v, want a refusal", tt.allow, addr, err)
			}
		}
	}
}
