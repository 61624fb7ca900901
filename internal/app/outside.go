package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stayd/stayd/internal/outbound"
	"github.com/stayd/stayd/internal/tracing"
	"github.com/stayd/stayd/internal/version"
)

// What leaves the process, by what it is for.
const (
	toModel       = "model"
	toMCP         = "mcp"
	toCredentials = "credential" // servers that issue tokens
	toIssuer      = "issuer"     // of tokens that callers show
	toBlobs       = "blob"
	toKeys        = "kms"
	toEnvironment = "environment" // what programs of environments ask for
	toCollector   = "traces"
)

// outside is the policy of what leaves the process for one use. Each of the URLs
// was named by the operator for it, and may be anywhere.
func (c *Config) outside(use string, named ...string) outbound.Policy {
	p := outbound.Policy{Allow: slices.Clone(c.AllowOutbound), Direct: c.OutboundDirect}
	for _, s := range named {
		if u, err := url.Parse(s); err == nil && u.Host != "" {
			p.Allow = append(p.Allow, u.Host)
		}
	}
	if c.OutboundProxy != "" {
		p.Proxy, _ = url.Parse(c.OutboundProxy) // Validate refuses what is none
	}
	p.Around = func(next http.RoundTripper) http.RoundTripper { return c.tracer.Around(use, c.sent.around(use, next)) }
	return p
}

// openTracer returns what tells the collector, or nil where there is none.
func openTracer(ctx context.Context, cfg *Config, instance string, log *slog.Logger) (*tracing.Tracer, error) {
	if cfg.Traces == "" {
		return nil, nil
	}
	client, err := outbound.New(cfg.outside(toCollector, cfg.Traces))
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	t, err := tracing.New(ctx, tracing.Config{Collector: cfg.Traces, HTTP: client, Version: version.String(), Instance: instance, Log: log})
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	return t, nil
}

// checkOutbound reports what is wrong with the way out.
func (c *Config) checkOutbound() error {
	if c.OutboundProxy == "" {
		if len(c.OutboundDirect) > 0 {
			return errors.New("outbound-direct says what is reached without a proxy, and there is none; set outbound-proxy")
		}
		return nil
	}
	u, err := url.Parse(c.OutboundProxy)
	if err != nil || u.Host == "" {
		return fmt.Errorf("outbound-proxy %q is not a URL like http://proxy.example.com:3128", redactURL(c.OutboundProxy))
	}
	if _, err := outbound.NewDialer(outbound.Policy{Proxy: u, Direct: c.OutboundDirect}); err != nil {
		return fmt.Errorf("outbound-proxy and outbound-direct: %w", err)
	}
	return nil
}

// sent counts what leaves the process.
type sent struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newSent() *sent {
	return &sent{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "stayd_outbound_requests_total", Help: "Requests to others, by what they were for and by the status of the answer; refused by the rules, or failed without one.",
		}, []string{"use", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "stayd_outbound_request_duration_seconds", Help: "Time until the head of an answer of others was there; of what environments ask for, until its end.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},
		}, []string{"use"}),
	}
}

func (s *sent) register(r prometheus.Registerer) { r.MustRegister(s.requests, s.seconds) }

// observe counts one request. The status is 0 where there was no answer.
func (s *sent) observe(use string, status int, refused bool, took time.Duration) {
	text := "failed"
	switch {
	case refused:
		s.requests.WithLabelValues(use, "refused").Inc()
		return
	case status != 0:
		text = strconv.Itoa(status)
		s.seconds.WithLabelValues(use).Observe(took.Seconds())
	}
	s.requests.WithLabelValues(use, text).Inc()
}

func (s *sent) around(use string, next http.RoundTripper) http.RoundTripper {
	if s == nil {
		return next
	}
	return &counted{sent: s, use: use, next: next}
}

// counted counts the requests of a client.
type counted struct {
	sent *sent
	use  string
	next http.RoundTripper
}

func (c *counted) RoundTrip(r *http.Request) (*http.Response, error) {
	began := time.Now()
	resp, err := c.next.RoundTrip(r)
	var refused *outbound.RefusedError
	status := 0
	if err == nil {
		status = resp.StatusCode
	}
	c.sent.observe(c.use, status, errors.As(err, &refused), time.Since(began))
	return resp, err
}

// CloseIdleConnections lets http.Client close them.
func (c *counted) CloseIdleConnections() {
	if n, ok := c.next.(interface{ CloseIdleConnections() }); ok {
		n.CloseIdleConnections()
	}
}
