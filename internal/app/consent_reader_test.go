package app_test

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestConsentReaders shows that who may only read is told that a person has to
// consent, and neither where nor anything that the link could be made of.
func TestConsentReaders(t *testing.T) {
	c := newConsents(t)
	id := c.begin("ana")
	link := c.asked(id)
	var key struct{ Key string }
	c.must(&key, "POST", "/v1/keys", `{"name":"reads","scope":"read"}`)
	reader := c.as(key.Key)

	var s struct {
		RequiredActions []map[string]any `json:"required_actions"`
	}
	reader.must(&s, "GET", sessions+"/"+id, "")
	if len(s.RequiredActions) != 1 || s.RequiredActions[0]["type"] != "consent" || s.RequiredActions[0]["actor"] != "ana" {
		t.Fatalf("a reader is shown %v", s.RequiredActions)
	}
	if url, there := s.RequiredActions[0]["url"]; there {
		t.Errorf("a reader is shown the link %v", url)
	}

	proof := link[strings.LastIndex(link, ".")+1:]
	shown := map[string]string{}
	for _, path := range []string{"", "/items", "/turns", "/effects", "/log"} {
		shown[path] = reader.do("GET", sessions+"/"+id+path, "").body
	}
	shown["all sessions"] = reader.do("GET", sessions, "").body
	events := reader.events(id)
	if !strings.Contains(events, "agent.session.requires_action") {
		t.Fatalf("the events are %s", events)
	}
	shown["/events"] = events
	for path, body := range shown {
		if strings.Contains(body, proof) || strings.Contains(body, "/oauth/consent/") {
			t.Errorf("%s has the link: %s", path, body)
		}
	}
	if writer := c.events(id); !strings.Contains(writer, proof) {
		t.Errorf("who may write is not shown the link: %s", writer)
	}

	// What the log has makes no link.
	var effect, nonce string
	for _, r := range reader.log(id) {
		var asked struct {
			EffectID string `json:"effect_id"`
			Nonce    string
		}
		if err := json.Unmarshal(r.Data, &asked); r.Kind == "consent.requested" && err == nil {
			effect, nonce = asked.EffectID, asked.Nonce
		}
	}
	if nonce == "" {
		t.Fatal("the log has no question")
	}
	place := base64.RawURLEncoding.EncodeToString([]byte("default/" + id + "/" + effect))
	if want := "/oauth/consent/" + place + "."; !strings.Contains(link, want) {
		t.Fatalf("the link is %s, this test makes %s", link, want)
	}
	c.browser().get(c.cfg.PublicURL+"/oauth/consent/"+place+"."+nonce).want(t, "a link of the log's nonce", http.StatusGone, "Nothing waits for this")

	// It is the same after a restart, and taken.
	c.restart()
	if again := c.asked(id); again != link {
		t.Errorf("after a restart the link is %s, before it was %s", again, link)
	}
	if done := c.browser().decide(link, "allow"); done.status != http.StatusOK {
		t.Errorf("allowed: %s", done)
	}
}

// events are those of a session so far, up to the one that it waits.
func (n *node) events(id string) string {
	n.t.Helper()
	resp, err := n.send(n.t.Context(), "GET", sessions+"/"+id+"/events?after=0", "", "Accept", "text/event-stream")
	if err != nil {
		n.t.Fatal(err)
	}
	defer resp.Body.Close()
	var b strings.Builder
	part := make([]byte, 64<<10)
	for !strings.Contains(b.String(), `event: agent.session.requires_action`) || !strings.HasSuffix(b.String(), "\n\n") {
		m, err := resp.Body.Read(part)
		b.Write(part[:m])
		if err == io.EOF {
			break
		}
		if err != nil {
			n.t.Fatalf("%v after %s", err, b.String())
		}
	}
	return b.String()
}
