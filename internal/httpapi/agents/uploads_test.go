package agents_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
)

// TestUploads uses the files API by the official client.
func TestUploads(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	made, err := w.sdk.Files.New(ctx, openai.FileNewParams{
		File: openai.File(strings.NewReader("hello"), "grüße \"x\".txt", "text/html"), Purpose: openai.FilePurposeUserData,
		ExpiresAfter: openai.FileNewParamsExpiresAfter{Seconds: 3600},
	})
	if err != nil {
		t.Fatal(err)
	}
	requireFields(t, reflect.TypeFor[openai.FileObject](), json.RawMessage(made.RawJSON()), "file")
	if made.Bytes != 5 || made.Filename != `grüße "x".txt` || made.Purpose != "user_data" || made.ExpiresAt != start.Unix()+3600 {
		t.Errorf("made %s", made.RawJSON())
	}
	resp, err := w.sdk.Files.Content(ctx, made.ID)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(resp.Body)
	if resp.Body.Close(); err != nil || string(data) != "hello" || resp.Header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("content %q as %s, %v", data, resp.Header.Get("Content-Type"), err)
	}
	if got, want := resp.Header.Get("Content-Disposition"), `attachment; filename="gr__e _x_.txt"; filename*=UTF-8''gr%C3%BC%C3%9Fe%20%22x%22.txt`; got != want {
		t.Errorf("disposition %s, want %s", got, want)
	}
	for i := range 5 {
		purpose := []openai.FilePurpose{openai.FilePurposeBatch, openai.FilePurposeVision}[i%2]
		if _, err := w.sdk.Files.New(ctx, openai.FileNewParams{File: openai.File(strings.NewReader(""), "empty", "text/plain"), Purpose: purpose}); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for pages := w.sdk.Files.ListAutoPaging(ctx, openai.FileListParams{Limit: openai.Int(2)}); pages.Next(); n++ {
		continue
	}
	batch, err := w.sdk.Files.List(ctx, openai.FileListParams{Purpose: openai.String("batch")})
	if err != nil || n != 6 || len(batch.Data) != 3 {
		t.Errorf("listed %d and %d, %v", n, len(batch.Data), err)
	}
	if got, err := w.sdk.Files.Get(ctx, made.ID); err != nil || got.Filename != made.Filename {
		t.Errorf("got %v, %v", got, err)
	}
	deleted, err := w.sdk.Files.Delete(ctx, made.ID)
	if err != nil || !deleted.Deleted || deleted.Object != "file" {
		t.Errorf("deleted %v, %v", deleted, err)
	}
	if a := w.do("GET", "/v1/files/"+made.ID, ""); a.body != envelope("No file found with id '"+made.ID+"'.", "", "not_found") {
		t.Errorf("deleted: %s", a.body)
	}
}

// form is a form of fields, given as name and value; a name with a slash is that
// of a file.
func form(fields ...string) string {
	var b strings.Builder
	for i := 0; i < len(fields); i += 2 {
		name, filename, isFile := strings.Cut(fields[i], "/")
		fmt.Fprintf(&b, "--B\r\nContent-Disposition: form-data; name=\"%s\"", name)
		if isFile {
			fmt.Fprintf(&b, "; filename=\"%s\"", filename)
		}
		fmt.Fprintf(&b, "\r\n\r\n%s\r\n", fields[i+1])
	}
	return b.String() + "--B--\r\n"
}

const formType = "multipart/form-data; boundary=B"

// TestRefusedUploads has forms that are not taken.
func TestRefusedUploads(t *testing.T) {
	w := newWorld(t)
	tests := []struct {
		name, kind, body     string
		status               int
		message, param, code string
	}{
		{"JSON", "application/json", `{}`, 415, "Send a form with a file: Content-Type: multipart/form-data with a boundary.", "Content-Type", "invalid_value"},
		{"no file", formType, form("purpose", "batch"), 400, "Missing required parameter: 'file'.", "file", "missing_required_parameter"},
		{"no purpose", formType, form("file/a", "x"), 400, "Missing required parameter: 'purpose'.", "purpose", "missing_required_parameter"},
		{"purpose", formType, form("file/a", "x", "purpose", "fun"), 400, "Invalid value: 'fun'. Supported values are: 'assistants', 'batch', 'fine-tune', 'vision', 'user_data', 'evals'.", "purpose", "invalid_value"},
		{"two files", formType, form("file/a", "x", "file/b", "y"), 400, "Upload one file at a time.", "file", "invalid_value"},
		{"twice", formType, form("purpose", "batch", "purpose", "batch"), 400, "The parameter 'purpose' is given more than once.", "purpose", "invalid_value"},
		{"unknown", formType, form("colour", "red"), 400, "Unknown parameter: 'colour'.", "colour", "unknown_parameter"},
		{"no seconds", formType, form("file/a", "x", "purpose", "batch", "expires_after[anchor]", "created_at"), 400, "Missing required parameter: 'expires_after[seconds]'.", "expires_after[seconds]", "missing_required_parameter"},
		{"no anchor", formType, form("file/a", "x", "purpose", "batch", "expires_after[seconds]", "3600"), 400, "Missing required parameter: 'expires_after[anchor]'.", "expires_after[anchor]", "missing_required_parameter"},
		{"anchor", formType, form("file/a", "x", "purpose", "batch", "expires_after[anchor]", "now", "expires_after[seconds]", "3600"), 400, "Invalid value: 'now'. Supported values are: 'created_at'.", "expires_after[anchor]", "invalid_value"},
		{"seconds", formType, form("file/a", "x", "purpose", "batch", "expires_after[anchor]", "created_at", "expires_after[seconds]", "60"), 400, "Invalid 'expires_after[seconds]': expected an integer from 3600 to 2592000, but got '60'.", "expires_after[seconds]", "invalid_value"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := w.do("POST", "/v1/files", test.body, "Content-Type", test.kind)
			if want := envelope(test.message, test.param, test.code); a.status != test.status || a.body != want {
				t.Errorf("got  %d %s\nwant %d %s", a.status, a.body, test.status, want)
			}
		})
	}
	torn := w.do("POST", "/v1/files", strings.TrimSuffix(form("file/a", strings.Repeat("x", 1000)), "--B--\r\n"), "Content-Type", formType)
	if torn.status != http.StatusBadRequest || !strings.Contains(torn.body, "The form cannot be read") {
		t.Errorf("torn: %d %s", torn.status, torn.body)
	}
	one := w.do("POST", "/v1/files", form("file/a", "x", "purpose", "batch"), "Content-Type", formType, "Idempotency-Key", "k")
	two := w.do("POST", "/v1/files", form("purpose", "batch", "file/a", "x"), "Content-Type", formType, "Idempotency-Key", "k")
	if one.status != http.StatusOK || one.body != two.body {
		t.Errorf("twice: %s, %s", one.body, two.body)
	}
	if a := w.do("POST", "/v1/files", form("purpose", "batch", "file/a", "y"), "Content-Type", formType, "Idempotency-Key", "k"); a.status != http.StatusConflict {
		t.Errorf("reused: %d %s", a.status, a.body)
	}
}
