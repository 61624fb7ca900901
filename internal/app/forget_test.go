package app_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// canaries are words that nobody would write otherwise.
const canaries = 200

func canary(i int) string { return fmt.Sprintf("zq%03dxkanari%03d", i, 999-i) }

// canariesIn returns which of the canaries stand in files below the folder.
func canariesIn(t *testing.T, dir string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		for i := range canaries {
			if bytes.Contains(b, []byte(canary(i))) {
				found = append(found, filepath.Base(path)+" "+canary(i))
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Of an actor who is forgotten nothing is left in any file: not what was said in
// their sessions, nor what was kept and drawn from it, in indexes and in the log of
// the database. What is remembered of somebody else stays.
func TestForgottenActor(t *testing.T) {
	cfg := config(t)
	n := start(t, cfg)
	sessionIDs := make([]string, 0, 20)
	for i := range cap(sessionIDs) {
		var words []string
		for j := range canaries / cap(sessionIDs) {
			words = append(words, canary(i*canaries/cap(sessionIDs)+j))
		}
		sessionIDs = append(sessionIDs, n.remember("ana", "I moved to Porto in February. "+strings.Join(words, " "), remembering))
	}
	other := n.remember("bob", "I moved to Porto in February.", remembering)
	for _, id := range append(sessionIDs, other) {
		wait(t, "what was drawn from "+id, func() bool { return len(n.recordsOf(id, "memory.extracted")) == 1 })
	}
	n.must(nil, "POST", "/v1/memories", `{"actor":"ana","text":"Ana said `+canary(0)+`","metadata":{"word":"`+canary(1)+`"}}`)
	n.must(nil, "POST", "/v1/memories/search", `{"actor":"ana","text":"`+canary(2)+`"}`)
	if len(canariesIn(t, cfg.Data)) < canaries {
		t.Fatal("the canaries are not in the files before anything is forgotten")
	}
	var receipt struct {
		Class    string
		Sessions int
		Records  map[string]int
	}
	n.must(&receipt, "POST", "/v1/memories/forget", `{"actor":"ana","reason":"asked for"}`)
	if receipt.Class != "actor" || receipt.Sessions != 20 || receipt.Records["turn"] != 40 || receipt.Records["semantic"] < 2 {
		t.Errorf("the receipt says %+v", receipt)
	}
	if a := n.do("GET", sessions+"/"+sessionIDs[0], ""); a.status != 404 {
		t.Errorf("a session with the actor: %s", a)
	}
	if got := n.memories("actor=ana&superseded=true"); len(got) != 0 {
		t.Errorf("memories of the actor: %+v", got)
	}
	if got := n.lastText(n.remember("bob", "where do I live?", remembering)); got != "You live in Porto." {
		t.Errorf("somebody else is told %q", got)
	}
	wait(t, "the files to be without canaries while the runtime runs", func() bool { return len(canariesIn(t, cfg.Data)) == 0 })
	n.stop()
	if left := canariesIn(t, cfg.Data); len(left) > 0 {
		t.Errorf("%d canaries are left: %v", len(left), left[:min(len(left), 5)])
	}
}

// A session that is deleted takes along what was remembered of it, unless that is
// held; one with a running turn stays, and everything with it.
func TestDeletedSessionIsForgotten(t *testing.T) {
	n := start(t, config(t))
	first := n.remember("ana", "I moved to Porto in February.", remembering)
	wait(t, "what was drawn", func() bool { return len(n.recordsOf(first, "memory.extracted")) == 1 })
	n.must(nil, "POST", "/v1/memories/rules", `{"namespace":"/actors/ana","hold":true,"reason":"a case"}`)
	if a := n.do("DELETE", sessions+"/"+first, ""); a.status != 409 || !strings.Contains(a.body, `"memory_held"`) {
		t.Errorf("a session that is held: %s", a)
	}
	n.must(nil, "POST", "/v1/memories/rules", `{"namespace":"/actors/ana"}`)

	const asks = `,"tools":[{"type":"function","name":"look","description":"looks","parameters":{"type":"object"}},{"type":"timer"}]` + remembering
	second := n.remember("ana", "hello", asks)
	n.until(second, "idle")
	n.must(nil, "DELETE", sessions+"/"+first, "", "Idempotency-Key", "once")
	n.must(nil, "DELETE", sessions+"/"+first, "", "Idempotency-Key", "once")
	if got := n.memories("session_id=" + first + "&superseded=true"); len(got) != 0 {
		t.Errorf("remembered of the deleted session: %+v", got)
	}
	if got := n.memories("session_id=" + second); len(got) < 2 {
		t.Errorf("remembered of another session: %+v", got)
	}
	// A deletion that broke off before its memories were gone is made again.
	n.must(nil, "POST", "/v1/memories", `{"actor":"ana","text":"left over","source":{"session_id":"`+first+`"}}`)
	if a := n.do("DELETE", sessions+"/"+first, ""); a.status != 404 {
		t.Errorf("a session that is gone: %s", a)
	}
	if got := n.memories("session_id=" + first); len(got) != 0 {
		t.Errorf("left over: %+v", got)
	}
}

// The credentials of an actor who is forgotten stay, unless they are asked for, and
// nothing holds the rest.
func TestForgottenActorsCredentials(t *testing.T) {
	n := start(t, config(t))
	var v struct{ ID string }
	n.must(&v, "POST", "/v1/vaults", `{"name":"keys"}`)
	for _, actor := range []string{"ana", "bob"} {
		n.must(nil, "POST", "/v1/vaults/"+v.ID+"/credentials", `{"actor":"`+actor+`","name":"c","auth":{"type":"static_bearer","mcp_server_url":"https://mcp.example.com/mcp","token":"t"}}`)
	}
	whose := func() (actors []string) {
		for _, c := range all[struct {
			ID, Actor string
		}](n, "/v1/vaults/"+v.ID+"/credentials?limit=100&order=asc") {
			actors = append(actors, c.Actor)
		}
		return actors
	}
	forget := func(body string) (receipt struct {
		Class       string
		Credentials int
		Records     map[string]int
	},
	) {
		t.Helper()
		n.must(nil, "POST", "/v1/memories", `{"actor":"ana","text":"Ana has a cat."}`)
		n.must(&receipt, "POST", "/v1/memories/forget", body)
		return receipt
	}
	if r := forget(`{"actor":"ana"}`); r.Credentials != 0 || r.Records["semantic"] != 1 || !slices.Equal(whose(), []string{"ana", "bob"}) {
		t.Errorf("without asking: %+v, credentials of %q", r, whose())
	}
	n.must(nil, "POST", "/v1/memories/rules", `{"namespace":"/actors/ana","hold":true,"reason":"a case"}`)
	n.must(nil, "POST", "/v1/memories", `{"actor":"ana","text":"Ana has a dog."}`)
	if a := n.do("POST", "/v1/memories/forget", `{"actor":"ana","credentials":true}`); a.status != 409 || !slices.Equal(whose(), []string{"ana", "bob"}) {
		t.Errorf("while it is held: %s, credentials of %q", a, whose())
	}
	n.must(nil, "POST", "/v1/memories/rules", `{"namespace":"/actors/ana"}`)
	if r := forget(`{"actor":"ana","credentials":true}`); r.Class != "actor" || r.Credentials != 1 || r.Records["semantic"] != 2 || !slices.Equal(whose(), []string{"bob"}) {
		t.Errorf("when they are asked for: %+v, credentials of %q", r, whose())
	}
	if a := n.do("POST", "/v1/memories/forget", `{"session_id":"s","credentials":true}`); a.status != 400 || !strings.Contains(a.body, "no 'actor' is given") {
		t.Errorf("without an actor: %s", a)
	}
}
