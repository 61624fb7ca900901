package outside

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// EnvLedger names the file of the ledger for Main.
const EnvLedger = "STAYD_CRASHTEST_LEDGER"

// Main is the process of the outside: it serves the world of the ledger that
// EnvLedger names, writes its URL as one line to standard output, and goes on
// until standard input ends. It returns the exit status.
func Main() int {
	w, err := Open(os.Getenv(EnvLedger), 20*time.Millisecond, 40)
	if err != nil {
		log.Print(err)
		return 1
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Print(err)
		return 1
	}
	srv := &http.Server{Handler: w.Handler(), ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	fmt.Printf("http://%s/mcp\n", l.Addr())
	io.Copy(io.Discard, os.Stdin) // it ends, whichever way
	srv.Close()                   // whoever is still there is cut off
	<-served
	if err := w.Close(); err != nil {
		log.Print(err)
		return 1
	}
	return 0
}

// Handler serves the world's tools as an MCP server.
func (w *World) Handler() http.Handler {
	srv := mcp.NewServer(&mcp.Implementation{Name: "outside", Version: "1"}, nil)
	order := json.RawMessage(`{"type":"object","properties":{"order":{"type":"string"}},"required":["order"]}`)
	lookup := json.RawMessage(`{"type":"object","properties":{"effect_id":{"type":"string"}},"required":["effect_id"]}`)
	add := func(name string, schema json.RawMessage, a *mcp.ToolAnnotations) {
		srv.AddTool(&mcp.Tool{Name: name, Description: name, InputSchema: schema, Annotations: a}, w.tool)
	}
	add(Look, order, &mcp.ToolAnnotations{ReadOnlyHint: true})
	add(Book, order, &mcp.ToolAnnotations{IdempotentHint: true})
	add(Pay, order, nil)
	add(Send, order, nil)
	add(Sent, lookup, &mcp.ToolAnnotations{ReadOnlyHint: true})
	return w.faulty(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return srv }, nil))
}

// tool takes a call that got through.
func (w *World) tool(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	text, err := w.Take(callOf(req.Params))
	if err != nil {
		return nil, err
	}
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}, nil
}

func callOf(p *mcp.CallToolParamsRaw) *Call {
	text := func(name string) string {
		s, ok := p.Meta[name].(string)
		if !ok {
			return ""
		}
		return s
	}
	return &Call{Tool: p.Name, Effect: text("stayd/effect_id"), Key: text("idempotencyKey"), Args: p.Arguments}
}

// faulty writes down each call of a tool as it comes off the connection, before
// any MCP code sees it, so that whatever repeats a request is counted; and it
// cuts connections.
func (w *World) faulty(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the caller is gone in the middle of its request
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		var msg struct {
			Method string                `json:"method"`
			Params mcp.CallToolParamsRaw `json:"params"`
		}
		if r.Method != http.MethodPost || json.Unmarshal(body, &msg) != nil || msg.Method != "tools/call" {
			next.ServeHTTP(rw, r)
			return
		}
		v, err := w.Receive(callOf(&msg.Params))
		if err != nil {
			log.Fatal(err) // without its ledger the world proves nothing
		}
		switch v.Fault {
		case NoFault:
			next.ServeHTTP(rw, r)
		case CutBefore:
		case CutAfter:
			next.ServeHTTP(httptest.NewRecorder(), r)
		}
		if err := v.End(); err != nil {
			log.Fatal(err)
		}
		if v.Fault != NoFault {
			panic(http.ErrAbortHandler)
		}
	})
}
