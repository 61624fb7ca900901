package outbound_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/stayd/stayd/internal/outbound"
)

// names is a server of DNS.
type names struct {
	mu sync.Mutex
	// answers are, for each name with its dot, the addresses of one answer after
	// the other; the last one stays.
	answers map[string][][]string
	asked   []string // names of the questions for IPv4
}

// resolver starts the server.
func (n *names) resolver(t *testing.T) *net.Resolver {
	t.Helper()
	c, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { c.Close(); <-done })
	go func() {
		defer close(done)
		for b := make([]byte, 4096); ; {
			k, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			if reply := n.reply(b[:k]); reply != nil {
				c.WriteTo(reply, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", c.LocalAddr().String())
	}}
}

func (n *names) reply(b []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(b) != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	m = dnsmessage.Message{Header: dnsmessage.Header{ID: m.ID, Response: true, RecursionAvailable: true}, Questions: m.Questions}
	for _, s := range n.answer(q) {
		a := netip.MustParseAddr(s)
		h := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET}
		switch {
		case a.Is4() && q.Type == dnsmessage.TypeA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: a.As4()}})
		case a.Is6() && q.Type == dnsmessage.TypeAAAA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
	if n.answer(q) == nil {
		m.RCode = dnsmessage.RCodeNameError
	}
	n.turn(q)
	out, err := m.Pack()
	if err != nil {
		return nil
	}
	return out
}

func (n *names) answer(q dnsmessage.Question) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if list := n.answers[q.Name.String()]; list != nil {
		return list[0]
	}
	return nil
}

// turn makes way for the next answer.
func (n *names) turn(q dnsmessage.Question) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if q.Type != dnsmessage.TypeA {
		return
	}
	n.asked = append(n.asked, q.Name.String())
	if list := n.answers[q.Name.String()]; len(list) > 1 {
		n.answers[q.Name.String()] = list[1:]
	}
}

// found are addresses that names are answered with.
var found = []struct{ addr, reaches, reason, allow string }{
	{"127.0.0.1", "127.0.0.1:80", "loopback", "127.0.0.0/8"},
	{"::1", "[::1]:80", "loopback", "::1/128"},
	{"::ffff:127.0.0.1", "127.0.0.1:80", "loopback", "127.0.0.0/8"},
	{"0.0.0.0", "0.0.0.0:80", "unspecified", "0.0.0.0/8"},
	{"::", "[::]:80", "unspecified", "::/128"},
	{"10.0.0.5", "10.0.0.5:80", "private", "10.0.0.0/8"},
	{"172.16.0.5", "172.16.0.5:80", "private", "172.16.0.0/12"},
	{"192.168.0.5", "192.168.0.5:80", "private", "192.168.0.0/16"},
	{"::ffff:10.0.0.5", "10.0.0.5:80", "private", "10.0.0.0/8"},
	{"fd00:ec2::254", "[fd00:ec2::254]:80", "private", "fc00::/7"},
	{"169.254.169.254", "169.254.169.254:80", "link-local", "169.254.0.0/16"},
	{"fe80::1", "[fe80::1]:80", "link-local", "fe80::/10"},
	{"100.100.100.200", "100.100.100.200:80", cgnat, "100.64.0.0/10"},
	{"168.63.129.16", "168.63.129.16:80", azure, "168.63.129.16/32"},
	{"224.0.0.251", "224.0.0.251:80", "multicast", "224.0.0.0/4"},
	{"ff02::fb", "[ff02::fb]:80", "multicast", "ff00::/8"},
	{"198.18.0.1", "198.18.0.1:80", bench, "198.18.0.0/15"},
	{"2001:2::1", "[2001:2::1]:80", bench, "2001:2::/48"},
	{"192.0.2.1", "192.0.2.1:80", docs, "192.0.2.0/24"},
	{"2001:db8::1", "[2001:db8::1]:80", docs, "2001:db8::/32"},
	{"255.255.255.255", "255.255.255.255:80", "reserved", "240.0.0.0/4"},
	{"64:ff9b::a9fe:a9fe", "[64:ff9b::a9fe:a9fe]:80", "link-local" + nat64, "64:ff9b::/96"},
	{"2002:7f00:1::", "[2002:7f00:1::]:80", "a 6to4 tunnel", "2002::/16"},
	{"2001:0:7f00:1::", "[2001:0:7f00:1::]:80", teredo, "2001::/32"},
	{"::7f00:1", "[::7f00:1]:80", nopub, "::7f00:0/104"},
}

func TestNamesOfAddressesThatAreNotPublic(t *testing.T) {
	n := &names{answers: map[string][][]string{}}
	for i, f := range found {
		n.answers[fmt.Sprintf("n%d.test.", i)] = [][]string{{f.addr}}
	}
	r := n.resolver(t)
	for i, f := range found {
		s := spelling{url: fmt.Sprintf("http://n%d.test/", i), addr: f.reaches, reason: f.reason}
		name := fmt.Sprintf("n%d.test", i)
		for _, allow := range [][]string{nil, without(ranges(), f.allow), {"other.test"}, {name + ":81"}, {"sub." + name}, {"test"}} {
			_, err := get(t, watched(t, outbound.Policy{Resolver: r, Allow: allow}), s.url) //nolint:bodyclose // get closes it
			wantRefused(t, err, &s)
		}
		for _, allow := range []string{f.allow, f.reaches, name, name + ".", name + ":80"} {
			_, err := get(t, watched(t, outbound.Policy{Resolver: r, Allow: []string{allow}}), s.url) //nolint:bodyclose // get closes it
			wantReached(t, err, s.url, s.addr)
		}
	}
}

func TestSpellingsOfNames(t *testing.T) {
	n := &names{answers: map[string][][]string{"private.test.": {{"10.0.0.5"}}, "xn--bcher-kva.test.": {{"10.0.0.5"}}}}
	r := n.resolver(t)
	for _, u := range []string{
		"http://private.test/", "http://PRIVATE.test/", "http://private.test./", "http://user:password@private.test/",
		"http://\uff50rivate.test/", "http://private\u3002test/", "http://pri\u00advate.test/",
		"http://b\u00fccher.test/", "http://xn--bcher-kva.test/", "http://B\u00dcCHER.test/",
	} {
		_, err := get(t, watched(t, outbound.Policy{Resolver: r}), u) //nolint:bodyclose // get closes it
		wantRefused(t, err, &spelling{url: u, addr: "10.0.0.5:80", reason: "private"})
		for _, allow := range [][]string{{"Private.Test", "b\u00fccher.test"}, {"private.test:80", "xn--bcher-kva.test."}} {
			_, err = get(t, watched(t, outbound.Policy{Resolver: r, Allow: allow}), u) //nolint:bodyclose // get closes it
			wantReached(t, err, u, "10.0.0.5:80")
		}
	}
}

// A name is looked up once for a connection, and what was found is what is
// checked and connected to; when it changes, the next connection is refused.
func TestRebinding(t *testing.T) {
	n := &names{answers: map[string][][]string{"rebind.test.": {{"8.8.8.8"}, {"127.0.0.1"}}}}
	c := watched(t, outbound.Policy{Resolver: n.resolver(t)})
	_, err := get(t, c, "http://rebind.test/") //nolint:bodyclose // get closes it
	wantReached(t, err, "http://rebind.test/", "8.8.8.8:80")
	n.mu.Lock()
	if !slices.Equal(n.asked, []string{"rebind.test."}) {
		t.Errorf("for one connection the server was asked for %q", n.asked)
	}
	n.mu.Unlock()
	_, err = get(t, c, "http://rebind.test/") //nolint:bodyclose // get closes it
	wantRefused(t, err, &spelling{url: "http://rebind.test/", addr: "127.0.0.1:80", reason: "loopback"})
}

// Of several addresses only the public ones are tried.
func TestNameOfPublicAndPrivateAddresses(t *testing.T) {
	n := &names{answers: map[string][][]string{"mixed.test.": {{"10.0.0.5", "8.8.8.8", "fd00::5", "127.0.0.1", "2606:4700:4700::1111"}}}}
	var mu sync.Mutex
	var tried []string
	c := client(t, outbound.Watch(outbound.Policy{Resolver: n.resolver(t)}, func(addr string) error {
		mu.Lock()
		defer mu.Unlock()
		tried = append(tried, addr)
		return errors.New("not in this test")
	}))
	if _, err := get(t, c, "http://mixed.test/"); err == nil { //nolint:bodyclose // get closes it
		t.Error("a connection was made")
	}
	slices.Sort(tried)
	if want := []string{"8.8.8.8:80", "[2606:4700:4700::1111]:80"}; !slices.Equal(tried, want) {
		t.Errorf("tried %q, want %q", tried, want)
	}
}

func TestDialerTakesHostsAndPortsAlone(t *testing.T) {
	dial, err := outbound.NewDialer(outbound.Policy{Allow: []string{"localhost", "0.0.0.0/0", "::/0"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []struct{ network, addr, says string }{
		{"unix", "/var/run/docker.sock", `"/var/run/docker.sock" is not reached: it is not of the internet, but of the network unix`},
		{"udp", "localhost:53", `"localhost:53" is not reached: it is not of the internet, but of the network udp`},
		{"ip4:icmp", "127.0.0.1", `"127.0.0.1" is not reached: it is not of the internet, but of the network ip4:icmp`},
		{"tcp", "localhost", `"localhost" is not reached: it is not of the form host:port`},
		{"tcp", "::1:80:", `"::1:80:" is not reached: it is not of the form host:port`},
		{"tcp", "localhost:http", `"localhost:http" is not reached: it is on a port that is not a number from 1 to 65535`},
		{"tcp", "localhost:+80", `"localhost:+80" is not reached: it is on a port that is not a number from 1 to 65535`},
		{"tcp", ":80", `":80" is not reached: it is ` + notAHost},
	} {
		c, err := dial(t.Context(), d.network, d.addr)
		if err == nil {
			c.Close()
		}
		var refused *outbound.RefusedError
		if !errors.As(err, &refused) || refused.Error() != d.says {
			t.Errorf("%s %s: got %v, want %s", d.network, d.addr, err, d.says)
		}
	}
}
