package openai_test

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/model/modeltest"
	"github.com/stayd/stayd/internal/model/openai"
)

func FuzzResponsesStream(f *testing.F) { fuzz(f, openai.APIResponses) }

func FuzzChatStream(f *testing.F) { fuzz(f, openai.APIChat) }

func fuzz(f *testing.F, api string) {
	f.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", api, "*.sse"))
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
	modeltest.FuzzStream(f, "text/event-stream", "m", func(url string, client *http.Client) (model.Model, error) {
		return openai.New(openai.Config{BaseURL: url, API: api, Client: client})
	}, seeds...)
}
