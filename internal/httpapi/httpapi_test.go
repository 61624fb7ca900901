package httpapi_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stayd/stayd/internal/httpapi"
)

type body struct {
	Name  string         `json:"name"`
	Count int            `json:"count,omitzero" minimum:"1" maximum:"9"`
	Tags  []string       `json:"tags,omitzero"`
	Any   map[string]any `json:"any,omitzero"`
}

func serve(cfg httpapi.Config) *httpapi.Server {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	s := httpapi.New(cfg)
	s.Register(httpapi.Operation{
		Method: "POST", Path: "/v1/things/{id}", ID: "makeThing", Summary: "Make a thing", Body: body{}, Result: body{},
		Do: func(c *httpapi.Call) (any, error) {
			var b body
			err := c.Decode(&b)
			b.Name += " of " + c.Project
			return b, err
		},
	})
	s.Register(httpapi.Operation{
		Method: "GET", Path: "/v1/panic", ID: "panic", Summary: "Panic", Do: func(*httpapi.Call) (any, error) { panic("oh") },
	})
	return s
}

func request(s http.Handler, method, path, content string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://127.0.0.1:8080"+path, strings.NewReader(content))
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// TestAdmission has who is let in, and to which project.
func TestAdmission(t *testing.T) {
	keys := map[[32]byte]string{sha256.Sum256([]byte("sk-1")): "one", sha256.Sum256([]byte("sk-2")): "two"}
	const (
		none = `{"error":{"message":"You didn't provide an API key. Provide it in an Authorization header using Bearer auth (Authorization: Bearer YOUR_KEY).","type":"invalid_request_error","param":null,"code":null}}`
		bad  = `{"error":{"message":"Incorrect API key provided.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}`
		host = `{"error":{"message":"A server without API keys answers only to loopback names. Use http://127.0.0.1, or configure API keys.","type":"invalid_request_error","param":null,"code":"host_not_allowed"}}`
	)
	tests := []struct {
		name    string
		keys    map[[32]byte]string
		headers []string
		status  int
		want    string
	}{
		{"no keys", nil, nil, 200, `{"name":"x of default"}`},
		{"any key", nil, []string{"Authorization", "Bearer x"}, 200, `{"name":"x of default"}`},
		{"a project", nil, []string{"OpenAI-Project", "mine"}, 200, `{"name":"x of mine"}`},
		{"no project's name", nil, []string{"OpenAI-Project", "a/b"}, 400, `{"error":{"message":"A project is named by 1 to 64 of the characters A-Z, a-z, 0-9, '_' and '-'.","type":"invalid_request_error","param":"OpenAI-Project","code":"invalid_value"}}`},
		{"localhost", nil, []string{"Host", "localhost:8080"}, 200, `{"name":"x of default"}`},
		{"IPv6", nil, []string{"Host", "[::1]:8080"}, 200, `{"name":"x of default"}`},
		{"another 127", nil, []string{"Host", "127.8.8.8"}, 200, `{"name":"x of default"}`},
		{"a rebound name", nil, []string{"Host", "evil.example:8080"}, 403, host},
		{"a name like an address", nil, []string{"Host", "127.0.0.1.evil.example"}, 403, host},
		{"another address", nil, []string{"Host", "10.0.0.1"}, 403, host},
		{"another origin", nil, []string{"Sec-Fetch-Site", "cross-site"}, 403, `{"error":{"message":"A server without API keys takes no writes from pages of another origin.","type":"invalid_request_error","param":null,"code":"cross_origin"}}`},
		{"key missing", keys, nil, 401, none},
		{"key of another scheme", keys, []string{"Authorization", "Basic sk-1"}, 401, none},
		{"wrong key", keys, []string{"Authorization", "Bearer sk-3"}, 401, bad},
		{"right key", keys, []string{"Authorization", "Bearer sk-2"}, 200, `{"name":"x of two"}`},
		{"right key, any host", keys, []string{"Authorization", "bearer sk-1", "Host", "api.example"}, 200, `{"name":"x of one"}`},
		{"the key's project", keys, []string{"Authorization", "Bearer sk-1", "OpenAI-Project", "one"}, 200, `{"name":"x of one"}`},
		{"another project", keys, []string{"Authorization", "Bearer sk-1", "OpenAI-Project", "two"}, 401, `{"error":{"message":"The OpenAI-Project header should match the project of the API key.","type":"invalid_request_error","param":null,"code":"mismatched_project"}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := request(serve(httpapi.Config{Keys: tt.keys}), "POST", "/v1/things/1", `{"name":"x"}`, tt.headers...)
			if w.Code != tt.status || w.Body.String() != tt.want {
				t.Errorf("got %d %s, want %d %s", w.Code, w.Body, tt.status, tt.want)
			}
		})
	}
	s := serve(httpapi.Config{Keys: keys})
	for path, status := range map[string]int{"/healthz": 200, "/readyz": 200, "/openapi.json": 200, "/metrics": 401} {
		if w := request(s, "GET", path, "", "Host", "api.example"); w.Code != status {
			t.Errorf("%s without a key: %d, want %d", path, w.Code, status)
		}
	}
}

// TestAnswers has what the frame answers by itself.
func TestAnswers(t *testing.T) {
	ready := errors.New("the leases are not held")
	s := serve(httpapi.Config{MaxBody: 64, Ready: func(context.Context) error { return ready }})
	tests := []struct {
		name, method, path, content string
		status                      int
		want                        string
	}{
		{"no path", "GET", "/v1/nothing", "", 404, `{"error":{"message":"Invalid URL (GET /v1/nothing)","type":"invalid_request_error","param":null,"code":null}}`},
		{"no method", "DELETE", "/v1/things/1", "", 405, `{"error":{"message":"Not allowed to DELETE on /v1/things/1. Allowed: POST.","type":"invalid_request_error","param":null,"code":null}}`},
		{"too large", "POST", "/v1/things/1", `{"name":"` + strings.Repeat("x", 100) + `"}`, 413, `{"error":{"message":"The request body is larger than the limit of 64 bytes.","type":"invalid_request_error","param":null,"code":"request_too_large"}}`},
		{"null", "POST", "/v1/things/1", `{"name":null}`, 400, `{"error":{"message":"Invalid type for 'name': expected a string, but got null instead.","type":"invalid_request_error","param":"name","code":"invalid_type"}}`},
		{"null where nothing will do", "POST", "/v1/things/1", `{"name":"x","count":null}`, 200, `{"name":"x of default"}`},
		{"element", "POST", "/v1/things/1", `{"name":"x","tags":["a",1]}`, 400, `{"error":{"message":"Invalid type for 'tags[1]': expected a string, but got an integer instead.","type":"invalid_request_error","param":"tags[1]","code":"invalid_type"}}`},
		{"too big", "POST", "/v1/things/1", `{"name":"x","count":10}`, 400, `{"error":{"message":"Invalid 'count': expected a number of at most 9, but got 10.","type":"invalid_request_error","param":"count","code":"invalid_value"}}`},
		{"no number", "POST", "/v1/things/1", `{"name":"x","count":1e999}`, 400, `{"error":{"message":"Invalid type for 'count': expected an integer, but got a number instead.","type":"invalid_request_error","param":"count","code":"invalid_type"}}`},
		{"query", "POST", "/v1/things/1?x=1", `{"name":"x"}`, 400, `{"error":{"message":"Unknown parameter: 'x'.","type":"invalid_request_error","param":"x","code":"unknown_parameter"}}`},
		{"healthy", "GET", "/healthz", "", 200, `{"status":"ok"}`},
		{"not ready", "GET", "/readyz", "", 503, `{"error":{"message":"Not ready: the leases are not held","type":"server_error","param":null,"code":"not_ready"}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := request(s, tt.method, tt.path, tt.content)
			if w.Code != tt.status || w.Body.String() != tt.want {
				t.Errorf("got %d %s, want %d %s", w.Code, w.Body, tt.status, tt.want)
			}
			if !strings.HasPrefix(w.Header().Get("X-Request-Id"), "req_") || w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("headers %v", w.Header())
			}
		})
	}
}

// TestPanic answers for a handler that panicked, and logs it under the request's
// id.
func TestPanic(t *testing.T) {
	var log strings.Builder
	s := serve(httpapi.Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
	w := request(s, "GET", "/v1/panic", "")
	id := w.Header().Get("X-Request-Id")
	want := `{"error":{"message":"The server made a mistake. Its log has the details under the request id ` + id + `.","type":"server_error","param":null,"code":null}}`
	if w.Code != http.StatusInternalServerError || w.Body.String() != want {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if !strings.Contains(log.String(), id) || !strings.Contains(log.String(), "panic=oh") {
		t.Errorf("log %q", log.String())
	}
	metrics := request(s, "GET", "/metrics", "").Body.String()
	for _, line := range []string{
		`stayd_http_requests_total{route="GET /v1/panic",status="500"} 1`,
		`stayd_http_request_duration_seconds_count{route="GET /v1/panic"} 1`,
		`stayd_http_open_streams 0`,
	} {
		if !strings.Contains(metrics, line) {
			t.Errorf("no %q in the metrics", line)
		}
	}
}

// TestDocument has every operation in the OpenAPI document.
func TestDocument(t *testing.T) {
	w := request(serve(httpapi.Config{Version: "1.2.3"}), "GET", "/openapi.json", "")
	var doc struct {
		OpenAPI string
		Info    struct{ Version string }
		Paths   map[string]map[string]struct {
			OperationID string
			RequestBody struct {
				Content map[string]struct {
					Schema struct {
						Ref string `json:"$ref"`
					}
				}
			}
		}
		Components struct {
			Schemas map[string]struct {
				Required             []string
				AdditionalProperties bool
			}
		}
	}
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	op := doc.Paths["/v1/things/{id}"]["post"]
	if doc.OpenAPI != "3.1.0" || doc.Info.Version != "1.2.3" || op.OperationID != "makeThing" {
		t.Errorf("document %s", w.Body)
	}
	ref := op.RequestBody.Content["application/json"].Schema.Ref
	schema := doc.Components.Schemas[strings.TrimPrefix(ref, "#/components/schemas/")]
	if len(schema.Required) != 1 || schema.Required[0] != "name" || schema.AdditionalProperties {
		t.Errorf("schema %+v of %s", schema, ref)
	}
}

// download is bytes that are closed.
type download struct {
	*strings.Reader
	closed bool
}

func (d *download) Close() error {
	d.closed = true
	return nil
}

// bytesServer takes bytes up to a limit and gives bytes.
func bytesServer(d *download) *httpapi.Server {
	s := serve(httpapi.Config{MaxBody: 4})
	s.Register(httpapi.Operation{
		Method: "PUT", Path: "/v1/things/{id}/content", ID: "putThing", Summary: "Put", Upload: httpapi.MediaBytes, Result: body{},
		Do: func(c *httpapi.Call) (any, error) {
			in, err := c.Bytes(8)
			if err != nil {
				return nil, err
			}
			data, err := io.ReadAll(in)
			return body{Name: string(data), Tags: []string{in.Sum()}}, err
		},
	})
	s.Register(httpapi.Operation{
		Method: "GET", Path: "/v1/things/{id}/content", ID: "getThing", Summary: "Get", Download: true,
		Do: func(*httpapi.Call) (any, error) {
			return &httpapi.Content{Name: "a.html", ETag: "e", Body: d}, nil
		},
	})
	s.Register(httpapi.Operation{
		Method: "GET", Path: "/v1/things/special/{name}", Before: true, ID: "getSpecial", Summary: "Get", Result: body{},
		Do: func(c *httpapi.Call) (any, error) { return body{Name: c.Path("name")}, nil },
	})
	return s
}

// TestBytes sends and fetches bytes, whatever the limit of JSON.
func TestBytes(t *testing.T) {
	d := &download{Reader: strings.NewReader("<script>")}
	s := bytesServer(d)
	put := request(s, "PUT", "/v1/things/1/content", "12345678")
	if put.Code != 200 || !strings.Contains(put.Body.String(), `"name":"12345678","tags":["ef797c8118f02dfb649607dd5d3f8c7623048c9c063d532cc95c5ed7a898a64f"]`) {
		t.Errorf("put: %d %s", put.Code, put.Body)
	}
	want := `{"error":{"message":"The request body is larger than the limit of 8 bytes.","type":"invalid_request_error","param":null,"code":"request_too_large"}}`
	if w := request(s, "PUT", "/v1/things/1/content", "123456789"); w.Code != 413 || w.Body.String() != want {
		t.Errorf("too large: %d %s", w.Code, w.Body)
	}
	r := httptest.NewRequest(http.MethodPut, "http://127.0.0.1/v1/things/1/content", io.MultiReader(strings.NewReader("123456"), strings.NewReader("789")))
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code != 413 || w.Body.String() != want {
		t.Errorf("too large, of no length: %d %s", w.Code, w.Body)
	}
	torn := httptest.NewRecorder()
	s.ServeHTTP(torn, httptest.NewRequest(http.MethodPut, "http://127.0.0.1/v1/things/1/content", io.MultiReader(strings.NewReader("123"), iotest.ErrReader(io.ErrUnexpectedEOF))))
	if torn.Code != 400 || !strings.Contains(torn.Body.String(), `"message":"The request body ended before it was complete."`) || !strings.Contains(torn.Body.String(), "incomplete_body") {
		t.Errorf("torn: %d %s", torn.Code, torn.Body)
	}
	got := request(s, "GET", "/v1/things/1/content", "", "Range", "bytes=1-6")
	if got.Code != 206 || got.Body.String() != "script" || !d.closed || got.Header().Get("Content-Type") != "application/octet-stream" ||
		got.Header().Get("X-Content-Type-Options") != "nosniff" || got.Header().Get("Content-Disposition") != `attachment; filename="a.html"; filename*=UTF-8''a.html` {
		t.Errorf("get: %d %q %v", got.Code, got.Body, got.Header())
	}
}

// TestBefore has a word come before a name, and neither hide what the other has.
func TestBefore(t *testing.T) {
	s := bytesServer(&download{Reader: strings.NewReader("x")})
	for _, test := range []struct {
		method, path string
		status       int
		want         string
	}{
		{"GET", "/v1/things/special/content", 200, `{"name":"content"}`},
		{"GET", "/v1/things/1/content", 200, "x"},
		{"PUT", "/v1/things/special/content", 200, `"name":""`},
		{"DELETE", "/v1/things/special/x", 405, "Not allowed to DELETE on /v1/things/special/x. Allowed: GET, HEAD."},
		{"GET", "/v1/things/other/x", 404, "Invalid URL (GET /v1/things/other/x)"},
	} {
		if w := request(s, test.method, test.path, ""); w.Code != test.status || !strings.Contains(w.Body.String(), test.want) {
			t.Errorf("%s %s: %d %s", test.method, test.path, w.Code, w.Body)
		}
	}
}

// TestDocumentOfBytes has the bodies that are bytes in the document.
func TestDocumentOfBytes(t *testing.T) {
	w := request(bytesServer(&download{}), "GET", "/openapi.json", "")
	var doc struct {
		Paths map[string]map[string]struct {
			RequestBody struct{ Content map[string]any }
			Responses   map[string]struct{ Content map[string]any }
		}
	}
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	content := doc.Paths["/v1/things/{id}/content"]
	if content["put"].RequestBody.Content["application/octet-stream"] == nil || content["get"].Responses["200"].Content["application/octet-stream"] == nil {
		t.Errorf("document %v", content)
	}
}
