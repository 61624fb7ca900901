package app_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/stayd/stayd/internal/app"
)

// serve runs a whole runtime on loopback, and returns its base URL.
func serve(t *testing.T, change func(*app.Config)) string {
	t.Helper()
	cfg := app.Default()
	cfg.Data, cfg.Scripts = t.TempDir(), "testdata/scripts"
	if change != nil {
		change(&cfg)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	a, err := app.Open(ctx, cfg, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- a.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return "http://" + l.Addr().String()
}

func sdk(url string) openai.Client {
	return openai.NewClient(option.WithBaseURL(url+"/v1/"), option.WithAPIKey("any"), option.WithMaxRetries(0))
}

var none = openai.EnvironmentParamUnion{OfParamNone: &openai.EnvironmentParamNone{}}

func text(s string) openai.BetaAgentSessionNewParamsInputUnion {
	return openai.BetaAgentSessionNewParamsInputUnion{OfString: openai.String(s)}
}

var weather = openai.AgentToolParamUnion{OfParamFunction: &openai.AgentToolParamFunction{
	Name: "get_weather", Description: "The weather", Parameters: map[string]any{"type": "object"},
}}

// TestSDK drives a session with the official SDK from its creation to its end:
// it streams, answers a function call, sends a second message, lists, cancels and
// deletes.
func TestSDK(t *testing.T) {
	url := serve(t, nil)
	client := sdk(url)
	ctx := t.Context()

	saved, err := client.Beta.Agents.New(ctx, openai.BetaAgentNewParams{Model: "script/weather", Name: openai.String("Frog"), Instructions: openai.String("Be brief.")})
	if err != nil {
		t.Fatal(err)
	}
	handled := 0
	stream := client.Beta.Agents.Sessions.NewStreaming(ctx, openai.BetaAgentSessionNewParams{
		AgentID: openai.String(saved.ID), Environment: none, Input: text("How is the weather?"),
		Agent: openai.BetaAgentSessionNewParamsAgent{Tools: []openai.AgentToolParamUnion{weather}},
		ToolHandlers: map[string]openai.AgentToolHandler{"get_weather": func(_ context.Context, args map[string]any) (any, error) {
			handled++
			if args["city"] != "Rome" {
				t.Errorf("arguments %v", args)
			}
			return map[string]any{"celsius": 21}, nil
		}},
	})
	result, err := openai.BetaAgentSessionFinalResult(stream)
	if err != nil {
		t.Fatal(err)
	}
	if got := result.OutputText(); got != "It is 21 degrees." || handled != 1 {
		t.Errorf("answer %q after %d calls", got, handled)
	}
	id := result.SessionID()

	// A second message, on the session as it stands.
	var deltas strings.Builder
	second := client.Beta.Agents.Sessions.Stream(ctx, id, openai.AgentSessionStreamParams{
		Input:        "And the weather now?",
		ToolHandlers: map[string]openai.AgentToolHandler{"get_weather": func(context.Context, map[string]any) (any, error) { return `{"celsius": 7}`, nil }},
	}).WithResultCollection()
	for second.Next() {
		if ev := second.Current(); ev.Type == "agent.session.turn.output_text.delta" {
			deltas.WriteString(ev.Delta)
		}
	}
	if r, err := second.FinalResult(); err != nil || r.OutputText() != "It is 7 degrees." {
		t.Errorf("second answer: %v %v", r, err)
	}
	if deltas.String() != "It is 7 degrees." {
		t.Errorf("deltas came to %q", deltas.String())
	}

	turns := client.Beta.Agents.Sessions.Turns.ListAutoPaging(ctx, id, openai.BetaAgentSessionTurnListParams{Limit: openai.Int(1), Order: "asc"})
	n := 0
	for turns.Next() {
		if turn := turns.Current(); turn.Status != "completed" || turn.Usage.TotalTokens == 0 {
			t.Errorf("turn %+v", turn)
		}
		n++
	}
	if turns.Err() != nil || n != 2 {
		t.Errorf("%d turns: %v", n, turns.Err())
	}
	var types []string
	items := client.Beta.Agents.Sessions.Items.ListAutoPaging(ctx, id, openai.BetaAgentSessionItemListParams{Limit: openai.Int(3), Order: "asc"})
	for items.Next() {
		types = append(types, items.Current().Type)
	}
	turn := "message reasoning function_call function_call_output message"
	want := turn + " " + turn
	if got := strings.Join(types, " "); got != want || items.Err() != nil {
		t.Errorf("items: %s (%v)", got, items.Err())
	}

	// A turn that does not end by itself is cancelled.
	err = client.Beta.Agents.Sessions.Events.New(ctx, id, openai.BetaAgentSessionEventNewParams{Events: []openai.AgentSessionInputParamUnion{
		openai.AgentSessionInputParamOfParamAgentSessionInputMessage([]openai.AgentSessionInputMessageParam{{Content: []openai.InputContentParamUnion{openai.InputContentParamOfParamInputText("slow")}}}),
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Beta.Agents.Sessions.Delete(ctx, id); !hasStatus(err, 409) {
		t.Errorf("deleting a running session: %v", err)
	}
	cancel := openai.BetaAgentSessionEventNewParams{Events: []openai.AgentSessionInputParamUnion{{OfParamAgentSessionInputCancel: &openai.AgentSessionInputParamAgentSessionInputCancel{}}}}
	if err := client.Beta.Agents.Sessions.Events.New(ctx, id, cancel); err != nil {
		t.Fatal(err)
	}
	await(t, client, id, "idle")
	if err := client.Beta.Agents.Sessions.Events.New(ctx, id, cancel); !hasStatus(err, 409) {
		t.Errorf("cancelling an ended turn: %v", err)
	}
	if deleted, err := client.Beta.Agents.Sessions.Delete(ctx, id); err != nil || !deleted.Deleted {
		t.Errorf("delete: %v %v", deleted, err)
	}
	if _, err := client.Beta.Agents.Sessions.Get(ctx, id); !hasStatus(err, 404) {
		t.Errorf("a deleted session: %v", err)
	}
}

// TestEnvironment shows an agent at work in its own environment.
func TestEnvironment(t *testing.T) {
	client := sdk(serve(t, nil))
	stream := client.Beta.Agents.Sessions.NewStreaming(t.Context(), openai.BetaAgentSessionNewParams{
		Environment: openai.EnvironmentParamUnion{OfParamOpenAIHosted: &openai.EnvironmentParamOpenAIHosted{}},
		Agent:       openai.BetaAgentSessionNewParamsAgent{Model: openai.String("script/weather")},
		Input:       text("Some files, please."),
	})
	result, err := openai.BetaAgentSessionFinalResult(stream)
	if err != nil {
		t.Fatal(err)
	}
	if got := result.OutputText(); !strings.Contains(got, "hello") {
		t.Errorf("answer %q", got)
	}
	if n := len(result.Messages); n != 1 {
		t.Errorf("%d final messages", n)
	}
}

// TestDeletedWorkspace shows that the files of a deleted session are gone, also
// where the process that deleted it ended before it removed them.
func TestDeletedWorkspace(t *testing.T) {
	data := t.TempDir()
	left := filepath.Join(data, "workspaces", "default", "sess_gone", "workspace")
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	client := sdk(serve(t, func(c *app.Config) { c.Data = data }))
	stream := client.Beta.Agents.Sessions.NewStreaming(t.Context(), openai.BetaAgentSessionNewParams{
		Environment: openai.EnvironmentParamUnion{OfParamOpenAIHosted: &openai.EnvironmentParamOpenAIHosted{}},
		Agent:       openai.BetaAgentSessionNewParamsAgent{Model: openai.String("script/weather")},
		Input:       text("Some files, please."),
	})
	result, err := openai.BetaAgentSessionFinalResult(stream)
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(data, "workspaces", "default", result.SessionID())
	if _, err := os.Stat(filepath.Join(folder, "workspace", "a.txt")); err != nil {
		t.Fatalf("the session has no file: %v", err)
	}
	if _, err := client.Beta.Agents.Sessions.Delete(t.Context(), result.SessionID()); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if _, err = os.Stat(folder); errors.Is(err, os.ErrNotExist) {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the files of a deleted session are still there: %v", err)
	}
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the files of a session that is no more are still there: %v", err)
	}
}

func await(t *testing.T, client openai.Client, id, status string) {
	t.Helper()
	for range 1000 {
		s, err := client.Beta.Agents.Sessions.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if string(s.Status) == status {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("session %s does not become %s", id, status)
}

func hasStatus(err error, status int) bool {
	var e *openai.Error
	return errors.As(err, &e) && e.StatusCode == status
}
