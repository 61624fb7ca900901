package bedrock_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/model/bedrock"
	"github.com/stayd/stayd/internal/model/modeltest"
)

// FuzzStream fuzzes the text form of the transcripts, so that the events pass
// their checksums.
func FuzzStream(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.events"))
	if err != nil || len(files) == 0 {
		f.Fatalf("no transcripts: %v", err)
	}
	var seeds [][]byte
	for _, name := range files {
		seeds = append(seeds, read(f, strings.TrimSuffix(filepath.Base(name), ".events")))
	}
	modeltest.FuzzStream(f, mediaType, opus, func(url string, client *http.Client) (model.Model, error) {
		return bedrock.New(bedrock.Config{
			Region: "us-east-1", APIKey: modeltest.Key, BaseURL: url,
			Client: &http.Client{Transport: encoding{client.Transport}},
		})
	}, seeds...)
}
