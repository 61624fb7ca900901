package bedrock_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/stayd/stayd/internal/memory/embed"
	"github.com/stayd/stayd/internal/memory/embed/bedrock"
	"github.com/stayd/stayd/internal/memory/embed/embedtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	secret = "verysecret"
	titan  = "amazon.titan-embed-text-v2:0"
	v3     = "cohere.embed-multilingual-v3"
	v4     = "us.cohere.embed-v4:0"
)

func open(t *testing.T, c bedrock.Config, s *embedtest.Server) *bedrock.Embedder {
	t.Helper()
	c.Client = s.Client
	if c.Region == "" {
		c.Region = "us-east-1"
	}
	if c.APIKey == "" && c.Credentials == nil {
		c.Credentials = credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", secret, "")
	}
	e, err := bedrock.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// answer gives each text its vector in the form of the model that is asked, and
// refuses what the model does.
func answer(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		InputText       string
		Dimensions      int
		Texts           []string
		OutputDimension int `json:"output_dimension"`
	}
	err := json.NewDecoder(r.Body).Decode(&asked)
	titan := strings.Contains(r.URL.Path, "titan")
	if err != nil || titan && asked.InputText == "" || !titan && (len(asked.Texts) == 0 || len(asked.Texts) > 96 || slices.Contains(asked.Texts, "")) {
		http.Error(w, `{"message":"Malformed input request"}`, http.StatusBadRequest)
		return
	}
	var vectors [][]float32
	for _, text := range asked.Texts {
		vectors = append(vectors, embedtest.Vector(text, max(asked.OutputDimension, 1024*(1-min(asked.OutputDimension, 1)))))
	}
	switch {
	case titan:
		embedtest.Write(w, map[string]any{"embedding": embedtest.Vector(asked.InputText, asked.Dimensions), "inputTextTokenCount": 1})
	case asked.OutputDimension > 0:
		embedtest.Write(w, map[string]any{"embeddings": map[string]any{"float": vectors}, "response_type": "embeddings_by_type"})
	default:
		embedtest.Write(w, map[string]any{"embeddings": vectors, "response_type": "embeddings_floats"})
	}
}

func TestSuite(t *testing.T) {
	for _, model := range []string{titan, v3, v4} {
		t.Run(model, func(t *testing.T) {
			embedtest.Run(t, func(t *testing.T) embed.Embedder {
				return open(t, bedrock.Config{Model: model}, embedtest.NewServer(t, answer))
			})
		})
	}
}

func TestRequests(t *testing.T) {
	// What the SDK reads of the environment is not meant for this endpoint.
	t.Setenv("AWS_BEARER_TOKEN_BEDROCK", "of-the-environment")
	for _, tt := range []struct {
		name     string
		config   bedrock.Config
		question bool
		path     string
		auth     string
		body     string
	}{
		{
			"Titan",
			bedrock.Config{Model: titan},
			false,
			"/model/amazon.titan-embed-text-v2%3A0/invoke", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/",
			`{"inputText":"one","dimensions":1024,"normalize":true}`,
		},
		{
			"Titan makes no difference of questions",
			bedrock.Config{Model: titan, Dimensions: 256, APIKey: secret},
			true,
			"/model/amazon.titan-embed-text-v2%3A0/invoke", "Bearer " + secret,
			`{"inputText":"one","dimensions":256,"normalize":true}`,
		},
		{
			"Cohere v3",
			bedrock.Config{Model: v3},
			false,
			"/model/cohere.embed-multilingual-v3/invoke", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/",
			`{"texts":["one"],"input_type":"search_document","truncate":"END"}`,
		},
		{
			"a question to Cohere v3",
			bedrock.Config{Model: v3},
			true,
			"/model/cohere.embed-multilingual-v3/invoke", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/",
			`{"texts":["one"],"input_type":"search_query","truncate":"END"}`,
		},
		{
			"Cohere v4 by a profile",
			bedrock.Config{Model: v4, Dimensions: 512},
			false,
			"/model/us.cohere.embed-v4%3A0/invoke", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/",
			`{"texts":["one"],"input_type":"search_document","embedding_types":["float"],"output_dimension":512}`,
		},
		{
			"a question to Cohere v4",
			bedrock.Config{Model: v4},
			true,
			"/model/us.cohere.embed-v4%3A0/invoke", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/",
			`{"texts":["one"],"input_type":"search_query","embedding_types":["float"],"output_dimension":1536}`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := embedtest.NewServer(t, answer)
			e := open(t, tt.config, s)
			if tt.question {
				e = e.Questions()
			}
			if _, err := e.Embed(t.Context(), []string{"one"}); err != nil {
				t.Fatal(err)
			}
			got := s.Received()
			if len(got) != 1 || got[0].Path != tt.path || got[0].Body != tt.body || !strings.HasPrefix(got[0].Header.Get("Authorization"), tt.auth) {
				t.Errorf("%+v\nwant %s %s %s", got, tt.path, tt.auth, tt.body)
			}
			if got[0].Header.Get("Content-Type") != "application/json" {
				t.Errorf("the header is %v", got[0].Header)
			}
		})
	}
}

func TestModel(t *testing.T) {
	for want, c := range map[string]bedrock.Config{
		"bedrock/amazon.titan-embed-text-v2:0@512":  {Model: titan, Dimensions: 512},
		"bedrock/cohere.embed-english-v3@1024":      {Model: "arn:aws:bedrock:us-east-1::foundation-model/cohere.embed-english-v3"},
		"bedrock/cohere.embed-v4:0@1536":            {Model: v4},
		"bedrock/cohere.embed-multilingual-v3@1024": {Model: v3, Dimensions: 1024},
	} {
		e := open(t, c, embedtest.NewInProcess(answer))
		if got, q := e.Model(), e.Questions().Model(); got != want || q != want {
			t.Errorf("%q, and of questions %q, want %q", got, q, want)
		}
	}
}

func TestBadConfiguration(t *testing.T) {
	signed := credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", secret, "")
	for want, c := range map[string]bedrock.Config{
		"the HTTP client is missing":           {Region: "r", Credentials: signed, Model: titan},
		"the region is missing":                {Client: http.DefaultClient, Credentials: signed, Model: titan},
		"credentials or an API key are needed": {Client: http.DefaultClient, Region: "r", Model: titan},
		"an API key is sent over https only":   {Client: http.DefaultClient, Region: "r", APIKey: secret, BaseURL: "http://h", Model: titan},
		`the model "" is none that can be asked; its id begins with one of amazon.titan-embed-text-v2, cohere.embed-v4, cohere.embed-english-v3, cohere.embed-multilingual-v3`:                           {Client: http.DefaultClient, Region: "r", Credentials: signed},
		`the model "amazon.titan-embed-text-v1" is none that can be asked; its id begins with one of amazon.titan-embed-text-v2, cohere.embed-v4, cohere.embed-english-v3, cohere.embed-multilingual-v3`: {Client: http.DefaultClient, Region: "r", Credentials: signed, Model: "amazon.titan-embed-text-v1"},
		"the model " + titan + " has no vectors of dimension 768; it has 1024, 512, 256":                                                                                                                 {Client: http.DefaultClient, Region: "r", Credentials: signed, Model: titan, Dimensions: 768},
		"the base URL must be an absolute http or https URL without a user or a query":                                                                                                                   {Client: http.DefaultClient, Region: "r", Credentials: signed, BaseURL: "https://u:" + secret + "@h", Model: titan},
	} {
		if _, err := bedrock.New(c); err == nil || err.Error() != "bedrock embeddings: "+want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func said(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

// fails asks for two vectors, in time that is made up, and wants the error.
func fails(t *testing.T, c bedrock.Config, s *embedtest.Server, want string) {
	t.Helper()
	e := open(t, c, s)
	synctest.Test(t, func(t *testing.T) {
		got, err := e.Embed(t.Context(), []string{"one", "two"})
		if got != nil || err == nil {
			t.Fatalf("%v and %v", got, err)
		}
		if want = "embed 2 texts: " + want; err.Error() != want {
			t.Errorf("%v\nwant %s", err, want)
		}
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the key is in %v", err)
		}
	})
}

func TestErrors(t *testing.T) {
	keyed := bedrock.Config{Model: v3, APIKey: secret}
	for _, tt := range []struct {
		name   string
		config bedrock.Config
		status int
		code   string
		body   string
		want   string
	}{
		{"no access", bedrock.Config{Model: v3}, 403, "AccessDeniedException", `{"message":"You don't have access to the model."}`, "bedrock-runtime.us-east-1.amazonaws.com answered 403: You don't have access to the model.; the AWS credentials must be valid and allowed to invoke cohere.embed-multilingual-v3 in us-east-1 (bedrock:InvokeModel, and access to the model in the Bedrock console)"},
		{"a wrong key", keyed, 403, "AccessDeniedException", `{"message":"The key ` + secret + ` is wrong"}`, "bedrock-runtime.us-east-1.amazonaws.com answered 403: The key [redacted] is wrong; the API key in AWS_BEARER_TOKEN_BEDROCK must be valid and allowed to invoke cohere.embed-multilingual-v3 in us-east-1 (bedrock:InvokeModel, and access to the model in the Bedrock console)"},
		{"no such model", keyed, 404, "ResourceNotFoundException", `{"message":"Could not resolve it."}`, "bedrock-runtime.us-east-1.amazonaws.com answered 404: Could not resolve it.; check the model's id, cohere.embed-multilingual-v3, and that the region us-east-1 has it"},
		{"too many requests", keyed, 429, "ThrottlingException", `{"message":"Too many requests."}`, "bedrock-runtime.us-east-1.amazonaws.com answered 429, after retries: Too many requests.; wait, or raise the account's quota"},
		{"not as it is asked", keyed, 400, "ValidationException", `{"message":"Malformed input request."}`, "bedrock-runtime.us-east-1.amazonaws.com answered 400: Malformed input request. (model cohere.embed-multilingual-v3 in us-east-1)"},
		{"broken", keyed, 500, "InternalServerException", `{}`, "bedrock-runtime.us-east-1.amazonaws.com answered 500: InternalServerException"},
		{"another page", keyed, 200, "", `<html>`, "the answer of bedrock-runtime.us-east-1.amazonaws.com cannot be read: invalid character '<' looking for beginning of value"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := embedtest.NewInProcess(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Amzn-ErrorType", tt.code)
				said(tt.status, tt.body)(w, r)
			})
			fails(t, tt.config, s, tt.want)
		})
	}
}

func TestAnswersThatAreNoVectors(t *testing.T) {
	const unreadable = "the answer of bedrock-runtime.us-east-1.amazonaws.com cannot be read: "
	for _, tt := range []struct{ model, body, want string }{
		{v3, `{"embeddings":[[1,2],[1,null]]}`, unreadable + "a vector has null in it, where numbers are expected"},
		{v3, `{"embeddings":[[1,2],[1,NaN]]}`, unreadable + "invalid character 'N' looking for beginning of value"},
		{v3, `{"embeddings":[[1,2]]}`, "the endpoint returned 1 vectors for 2 texts"},
		{v3, `{"embeddings":[[1,2],[1,2]]}`, "the endpoint returned vectors of dimension 2, not 1024; set the dimension to what the model has"},
		{v3, `{}`, unreadable + "it has no embeddings"},
		{v3, `{"embeddings":null}`, unreadable + "it has no embeddings"},
		{v4, `{"embeddings":{"int8":[[1],[2]]}}`, unreadable + "it has no embeddings of the type float"},
		{v4, `{"embeddings":{"float":[[1]]}}`, "the endpoint returned 1 vectors for 2 texts"},
		{v4, `{"embeddings":"a"}`, unreadable + "it has no embeddings"},
		{titan, `{"embedding":null}`, unreadable + "a vector has null in it, where numbers are expected"},
		{titan, `{"embedding":[]}`, unreadable + "it has no embedding"},
		{titan, `{"embedding":[1]}`, "the endpoint returned vectors of dimension 1, not 1024; set the dimension to what the model has"},
	} {
		fails(t, bedrock.Config{Model: tt.model}, embedtest.NewInProcess(said(http.StatusOK, tt.body)), tt.want)
	}
}

func TestRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		s := embedtest.NewInProcess(func(w http.ResponseWriter, r *http.Request) {
			if asked++; asked < 3 {
				w.Header().Set("X-Amzn-ErrorType", "ThrottlingException")
				w.WriteHeader(http.StatusTooManyRequests)
				return
			}
			answer(w, r)
		})
		got, err := open(t, bedrock.Config{Model: titan}, s).Embed(t.Context(), []string{"one"})
		if err != nil || len(got) != 1 || len(s.Received()) != 3 {
			t.Errorf("%d vectors after %d requests: %v", len(got), len(s.Received()), err)
		}
	})
}

func TestSilence(t *testing.T) {
	s := embedtest.NewInProcess(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	fails(t, bedrock.Config{Model: v3}, s, "the endpoint did not answer within 2m0s")
}

type broken struct{ err error }

func (b broken) RoundTrip(*http.Request) (*http.Response, error) { return nil, b.err }

func TestNothingListens(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	s := &embedtest.Server{Client: &http.Client{Transport: broken{refused}}}
	fails(t, bedrock.Config{Model: v3, BaseURL: "https://vpce.example"}, s, "the connection to vpce.example failed: dial tcp: connect: connection refused; check the base URL")
}

// An answer without an end is not read for good.
func TestTooLongAnAnswer(t *testing.T) {
	s := embedtest.NewInProcess(said(http.StatusOK, strings.Repeat(" ", 8<<20)))
	fails(t, bedrock.Config{Model: v3}, s, "bedrock-runtime.us-east-1.amazonaws.com answered with more than 5058304 bytes, which is no list of vectors; check the base URL")
}

func TestNoCredentials(t *testing.T) {
	none := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{}, errors.New("no EC2 IMDS role found")
	})
	fails(t, bedrock.Config{Model: v3, Credentials: none}, embedtest.NewInProcess(answer),
		"AWS credentials are not to be had: no EC2 IMDS role found; set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_BEARER_TOKEN_BEDROCK")
}

// A text that is longer than Titan takes is asked for in pieces.
func TestLongText(t *testing.T) {
	s := embedtest.NewServer(t, answer)
	got, err := open(t, bedrock.Config{Model: titan, Dimensions: 256}, s).Embed(t.Context(), []string{strings.Repeat("words ", 3000)})
	if err != nil || len(got) != 1 || len(got[0]) != 256 || len(s.Received()) != 3 {
		t.Errorf("%d vectors after %d requests: %v", len(got), len(s.Received()), err)
	}
	if diff := cmp.Diff([]int{7997, 7997, 2003}, lengths(t, s)); diff != "" {
		t.Error(diff)
	}
}

// lengths are those of the texts that Titan was asked, the longest first.
func lengths(t *testing.T, s *embedtest.Server) []int {
	t.Helper()
	var out []int
	for _, r := range s.Received() {
		var asked struct{ InputText string }
		if err := json.Unmarshal([]byte(r.Body), &asked); err != nil {
			t.Fatal(err)
		}
		out = append(out, len(asked.InputText))
	}
	slices.Sort(out)
	slices.Reverse(out)
	return out
}
