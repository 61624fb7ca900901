package anthropic_test

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/model/anthropic"
	"github.com/stayd/stayd/internal/model/modeltest"
)

func FuzzStream(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.sse"))
	if err != nil || len(files) == 0 {
		f.Fatalf("no transcripts: %v", err)
	}
	var seeds [][]byte
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		seeds = append(seeds, b)
	}
	modeltest.FuzzStream(f, "text/event-stream", opus, func(url string, client *http.Client) (model.Model, error) {
		return anthropic.New(anthropic.Config{BaseURL: url, Client: client})
	}, seeds...)
}
