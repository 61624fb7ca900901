package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/stayd/stayd/internal/app"
	"github.com/stayd/stayd/internal/client"
)

// urlFile is the file in the data folder in which a server writes its URL while
// it runs.
const urlFile = "stayd.url"

// runtime is what a command speaks to.
type runtime struct {
	*client.Client
	// Where says in words what it is, Data where its data is if that is known.
	Where string
	Data  string

	app   *app.App     // nil where it is a server
	pages *http.Server // for browsers, of a runtime in this process

	serving sync.WaitGroup
	// left is set where the user does not want to wait for it to stop.
	left bool
}

// addRuntimeFlags registers the flags by which a command finds its runtime.
func addRuntimeFlags(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.String("server", "", "URL of the server to ask; STAYD_SERVER is its default")
	addSettings(fs, runtimeSettings)
}

// connect returns the runtime that the flags and the environment name. The
// caller closes it.
func connect(ctx context.Context, fs *pflag.FlagSet, progress *progress) (*runtime, error) {
	server, key := os.Getenv("STAYD_SERVER"), os.Getenv("STAYD_API_KEY")
	if f := fs.Lookup("server"); f.Changed {
		server = f.Value.String()
	}
	if server != "" {
		c, err := dial(ctx, server, key)
		if err != nil {
			return nil, err
		}
		return &runtime{Client: c, Where: "the server " + server}, nil
	}
	cfg, err := loadConfig(fs, os.Getenv)
	if err != nil {
		return nil, err
	}
	found, err := serverOn(ctx, cfg.Data)
	if err != nil {
		return nil, err
	}
	if found != "" {
		c, err := dial(ctx, found, key)
		if err != nil {
			return nil, err
		}
		return &runtime{Client: c, Where: "the server " + found, Data: cfg.Data}, nil
	}
	return embed(ctx, cfg, progress)
}

// embed opens a runtime in this process.
func embed(ctx context.Context, cfg app.Config, progress *progress) (*runtime, error) {
	defer progress.during("opening the store")()
	// Nobody outside reaches it, so no key is asked for.
	cfg.Listen, cfg.Keys, cfg.RequireKey, cfg.Issuers = app.Default().Listen, nil, false, nil
	pages, err := listenForPages(ctx, &cfg)
	if err != nil {
		return nil, err
	}
	a, err := app.Open(ctx, cfg, slog.New(slog.NewTextHandler(embeddedLog(), &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		if pages != nil {
			err = errors.Join(err, pages.Close())
		}
		return nil, err
	}
	rt := &runtime{Client: client.Embed(a.Handler(), ""), Where: "the runtime in this process", Data: cfg.Data, app: a}
	if pages != nil {
		rt.pages = &http.Server{Handler: onlyConsent(a.Handler()), ReadHeaderTimeout: pagesTimeout}
		rt.serving.Go(func() { rt.pages.Serve(pages) }) //nolint:errcheck,gosec // it ends when it is closed
	}
	return rt, nil
}

// listenForPages has the pages on which people consent found on this machine,
// where nobody said under which URL the runtime is.
func listenForPages(ctx context.Context, cfg *app.Config) (net.Listener, error) {
	if cfg.PublicURL != "" {
		return nil, nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for browsers in which people consent: %w", err)
	}
	cfg.PagesURL = "http://" + l.Addr().String()
	return l, nil
}

// pagesTimeout is how long a browser may take to ask for a page.
const pagesTimeout = 10 * time.Second

// onlyConsent serves the pages on which people consent, and nothing else.
func onlyConsent(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/oauth/consent/") && r.URL.Path != "/oauth/callback" {
			http.NotFound(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// embeddedLog is where a runtime in this process logs to: nowhere, unless
// STAYD_LOG asks for it, since what concerns the user comes as an answer.
func embeddedLog() io.Writer {
	if os.Getenv("STAYD_LOG") != "" {
		return os.Stderr
	}
	return io.Discard
}

// closeTimeout bounds how long a command waits for its runtime to stop.
const closeTimeout = 15 * time.Second

// close stops a runtime that runs in this process. One that was left is not
// waited for: what is under way in it is taken up by the next one, as after any
// end of a process.
func (r *runtime) close() error {
	if r.app == nil || r.left {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if r.pages != nil {
		if err := r.pages.Close(); err != nil {
			return fmt.Errorf("close the pages for consent: %w", err)
		}
		r.serving.Wait()
	}
	if err := r.app.Close(ctx); err != nil {
		return fmt.Errorf("close the runtime: %w", err)
	}
	return nil
}

// serverOn returns the URL of the server that runs on the data folder, or "". It is
// an error where the folder names a server of another machine: it may be part of
// what somebody else made, and the user's key is not for those.
func serverOn(ctx context.Context, data string) (string, error) {
	name := filepath.Join(data, urlFile)
	b, err := os.ReadFile(name)
	if err != nil {
		return "", nil // none runs, or one of another user
	}
	server := strings.TrimSpace(string(b))
	if !onThisMachine(server) {
		return "", fmt.Errorf("%s names the server %.100q, which is not on this machine, so it is not shown your key; if you trust it, name it with --server, and else remove the file", name, server)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, server+"/healthz", nil)
	if err != nil {
		return "", fmt.Errorf("ask the server that %s names: %w", name, err)
	}
	c := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := c.Do(req)
	if err != nil {
		return "", nil // it ended without removing its file
	}
	resp.Body.Close() //nolint:errcheck,gosec // nothing is read of it
	if resp.StatusCode != http.StatusOK {
		return "", nil
	}
	return server, nil
}

// onThisMachine reports whether the URL is one that a server of this machine
// writes: of the address that it listens on.
func onThisMachine(server string) bool {
	u, err := url.Parse(server)
	if err != nil || u.Scheme != "http" || u.User != nil || server != "http://"+u.Host {
		return false
	}
	addr, err := netip.ParseAddr(u.Hostname())
	if err != nil {
		return u.Hostname() == "localhost"
	}
	addr = addr.Unmap().WithZone("")
	if addr.IsLoopback() || addr.IsUnspecified() {
		return true
	}
	own, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(own, func(a net.Addr) bool {
		of, err := netip.ParsePrefix(a.String())
		return err == nil && of.Addr().Unmap() == addr
	})
}

// with runs fn with the runtime of the command, and closes it.
func with(cmd *cobra.Command, fn func(ctx context.Context, r *runtime) error) error {
	ctx := cmd.Context()
	r, err := connect(ctx, cmd.Flags(), newProgress(os.Stderr))
	if err != nil {
		return err
	}
	return errors.Join(fn(ctx, r), r.close())
}
