package app_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"

	"github.com/stayd/stayd/internal/app"
	"github.com/stayd/stayd/internal/vault/keyfile"
)

// runLogged runs a whole runtime that logs all that it can into log, and returns
// its URL and how to stop it.
func runLogged(t *testing.T, cfg app.Config, log *bytes.Buffer) (url string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	a, err := app.Open(ctx, cfg, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- a.Serve(ctx, l) }()
	return "http://" + l.Addr().String(), func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("stop: %v", err)
		}
	}
}

// TestVaults keeps secrets with the official SDK in a whole runtime, rotates the
// master key behind its back, starts it again, and looks for the secrets in every
// byte of the data folder and of the log.
func TestVaults(t *testing.T) {
	cfg := config(t)
	var log bytes.Buffer
	url, stop := runLogged(t, cfg, &log)
	ctx := t.Context()
	client := sdk(url)
	v, err := client.Beta.Agents.Vaults.New(ctx, openai.BetaAgentVaultNewParams{Name: openai.String("team")})
	if err != nil {
		t.Fatal(err)
	}
	var secrets, ids []string
	for i := range 50 {
		secret := fmt.Sprintf("canary-%02d-kq7zxw", i)
		c, err := client.Beta.Agents.Vaults.Credentials.New(ctx, v.ID, openai.BetaAgentVaultCredentialNewParams{
			Name: "c", Auth: openai.CredentialAuthCreateParamOfParamStaticBearer(fmt.Sprintf("https://mcp.example.com/%d", i), secret),
		})
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(c.RawJSON(), "canary") {
			t.Errorf("answered: %s", c.RawJSON())
		}
		secrets, ids = append(secrets, secret), append(ids, c.ID)
	}
	file := filepath.Join(cfg.Data, "vault.keys")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file of keys is %v: %v", info, err)
	}
	scan := func() {
		t.Helper()
		files := 0
		err := filepath.WalkDir(cfg.Data, func(name string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			files++
			b, err := os.ReadFile(name)
			for _, s := range secrets {
				if bytes.Contains(b, []byte(s)) {
					t.Errorf("%s has %s", name, s)
				}
			}
			return err
		})
		if err != nil || files < 2 {
			t.Fatalf("%d files were looked at: %v", files, err)
		}
	}
	scan()
	rot, err := keyfile.Rotate(file)
	if err != nil {
		t.Fatal(err)
	}
	stop()
	scan()

	// The next start goes on with the rotation, after which the old key is needed by
	// nothing.
	url, stop = runLogged(t, cfg, &log)
	n := &node{t: t, url: url, http: http.DefaultClient}
	var done struct {
		MasterKey string `json:"master_key"`
		Keys      int
	}
	n.must(&done, "POST", "/v1/vaults/rewrap", "{}")
	if done.MasterKey != rot.Current || done.Keys != 1 {
		t.Errorf("the keys of vaults are under %+v, want %s", done, rot.Current)
	}
	if _, err := keyfile.Drop(file, rot.Old[0]); err != nil {
		t.Fatal(err)
	}
	client = sdk(url)
	for _, id := range ids {
		rotate := openai.BetaAgentVaultCredentialUpdateParams{Auth: openai.CredentialAuthRotateParamOfParamStaticBearer("canary-new-" + id)}
		if _, err := client.Beta.Agents.Vaults.Credentials.Update(ctx, v.ID, id, rotate); err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, "canary-new-"+id)
	}
	scan()
	stop()
	scan()
	if strings.Contains(log.String(), "canary") {
		t.Errorf("logged: %s", log.String())
	}
}

// TestVaultKey shows that a wrong setting is said at the start, and a missing one
// when it is needed.
func TestVaultKey(t *testing.T) {
	cfg := config(t)
	cfg.VaultKey = filepath.Join(t.TempDir(), "nowhere.keys")
	if a, err := app.Open(t.Context(), cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "nowhere.keys") {
		if err == nil {
			a.Close(t.Context())
		}
		t.Errorf("a file that is not there: %v", err)
	}
	if place := (&app.Config{Data: "d", Store: "postgres://s"}).VaultKeys(); place.File() != "" {
		t.Errorf("with PostgreSQL the keys are in %s", place.File())
	}
}
