package outbound_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// makers are the files that make an HTTP client of their own, and why they may.
var makers = map[string]string{
	"internal/outbound/outbound.go":   "makes the one that all others use",
	"internal/client/client.go":       "asks the server that the user of a command names",
	"cmd/stayd/connect.go":            "asks an address of this machine alone, whether a server is there",
	"internal/model/router/detect.go": "asks a loopback address alone, whether Ollama is there",
}

// TestClientsAreMadeHere checks what no linter does: that a client which reaches
// outside is one of this package. A client is handed on as a pointer, so who
// names the type without one makes a client.
func TestClientsAreMadeHere(t *testing.T) {
	found := map[string]bool{}
	root := os.DirFS(filepath.Join("..", ".."))
	for _, dir := range []string{"cmd", "internal", "examples"} {
		err := fs.WalkDir(root, dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			src, err := fs.ReadFile(root, path)
			if err != nil {
				return err
			}
			made, err := makesClient(src)
			if made {
				found[path] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for path := range found {
		if makers[path] == "" && !strings.HasSuffix(filepath.Dir(path), "test") {
			t.Errorf("%s makes an HTTP client; it has to be given one of internal/outbound", path)
		}
	}
	for path := range makers {
		if !found[path] {
			t.Errorf("%s makes no HTTP client any more; take it off the list", path)
		}
	}
}

func makesClient(src []byte) (bool, error) {
	f, err := parser.ParseFile(token.NewFileSet(), "", src, parser.SkipObjectResolution)
	if err != nil {
		return false, err
	}
	i := slices.IndexFunc(f.Imports, func(s *ast.ImportSpec) bool { return s.Path.Value == `"net/http"` })
	if i < 0 {
		return false, nil
	}
	name := "http"
	if n := f.Imports[i].Name; n != nil {
		name = n.Name
	}
	made := false
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.StarExpr:
			return !isClient(n.X, name)
		case ast.Expr:
			made = made || isClient(n, name)
		}
		return true
	})
	return made, nil
}

func isClient(e ast.Expr, pkg string) bool {
	s, ok := e.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != "Client" {
		return false
	}
	x, ok := s.X.(*ast.Ident)
	return ok && x.Name == pkg
}

func TestMakesClient(t *testing.T) {
	for src, want := range map[string]bool{
		`import "net/http"; var c *http.Client`:                  false,
		`import "net/http"; func f(c *http.Client) *http.Client`: false,
		`import "net/http"; type t struct{ c *http.Client }`:     false,
		`import "net/http"; type t struct{ c http.Client }`:      true,
		`import "net/http"; var c http.Client`:                   true,
		`import "net/http"; var c = &http.Client{}`:              true,
		`import "net/http"; var c = new(http.Client)`:            true,
		`import web "net/http"; var c = web.Client{}`:            true,
		`import "example.com/http"; var c = http.Client{}`:       false,
	} {
		got, err := makesClient([]byte("package p\n" + src))
		if err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", src, got, err, want)
		}
	}
}
