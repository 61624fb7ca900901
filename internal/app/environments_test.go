package app_test

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/stayd/stayd/internal/pgtest"
)

// TestWorkspaceOutlivesItsMachine has a workspace be there for a process that has
// none of the first one's files, wherever its contents are kept: beside the log,
// or in a bucket.
func TestWorkspaceOutlivesItsMachine(t *testing.T) {
	bucket := s3mem.New()
	if err := bucket.CreateBucket("stayd"); err != nil {
		t.Fatal(err)
	}
	s3 := httptest.NewServer(gofakes3.New(bucket).Server())
	t.Cleanup(s3.Close)
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	cluster := pgtest.NewCluster(t)
	for name, blobs := range map[string]string{
		"in the store":  "",
		"in a bucket":   "s3://stayd/prefix?endpoint=" + s3.URL,
		"in the folder": "folder",
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t)
			cfg.Store, cfg.Blobs = cluster.Database(t, "machine_"+strings.ReplaceAll(name, " ", "_")), blobs
			first := start(t, cfg)
			var made struct {
				ID          string
				Environment struct{ ID string }
			}
			first.must(&made, "POST", sessions, `{"environment":{"type":"openai_hosted","sandbox":"js"},"agent":{"model":"script/work"},"input":"publish"}`)
			first.until(made.ID, "idle")
			first.stop()

			if blobs == "folder" {
				for _, d := range []string{"workspaces", "cache"} {
					if err := os.RemoveAll(filepath.Join(cfg.Data, d)); err != nil {
						t.Fatal(err)
					}
				}
			} else {
				cfg.Data = t.TempDir()
			}
			second := start(t, cfg)
			second.must(nil, "POST", sessions+"/"+made.ID+"/events", message("read it"))
			second.until(made.ID, "idle")
			items := second.items(made.ID)
			if said := items[len(items)-1].text(); said != "published" {
				t.Errorf("the agent says %q on another machine, want what it wrote on the first", said)
			}
			got := second.do("GET", "/v1/agents/environments/"+made.Environment.ID+"/files/content?path=/workspace/artifacts/a.txt", "")
			if got.status != 200 || got.body != "published" {
				t.Errorf("the file is %s", got)
			}
		})
	}
}

// TestForkHasItsFiles forks a session between two turns that write a file, and
// has both go on.
func TestForkHasItsFiles(t *testing.T) {
	n := start(t, config(t))
	var made, fork struct {
		ID          string
		Environment struct{ ID string }
	}
	n.must(&made, "POST", sessions, `{"environment":{"type":"openai_hosted","sandbox":"js"},"agent":{"model":"script/work"},"input":"publish"}`)
	n.until(made.ID, "idle")
	n.must(&fork, "POST", sessions+"/"+made.ID+"/fork", `{"input":"overwrite"}`)
	n.until(fork.ID, "idle")
	n.must(nil, "POST", sessions+"/"+made.ID+"/events", message("read it"))
	n.until(made.ID, "idle")
	for id, want := range map[string]string{made.Environment.ID: "published", fork.Environment.ID: "overwritten"} {
		if got := n.do("GET", "/v1/agents/environments/"+id+"/files/content?path=/workspace/artifacts/a.txt", ""); got.body != want {
			t.Errorf("the file of %s is %s, want %s", id, got, want)
		}
	}
	diff := n.do("GET", sessions+"/"+made.ID+"/diff?with="+fork.ID, "").body
	if !strings.Contains(diff, `"path":"/workspace/artifacts/a.txt","kind":"changed","size_before":9,"size_after":11`) {
		t.Errorf("the difference is %s", diff)
	}
	n.verify(made.ID)
	n.verify(fork.ID)
	// The fork keeps what it has of a session that is deleted.
	n.must(nil, "DELETE", sessions+"/"+made.ID, "")
	n.must(nil, "POST", sessions+"/"+fork.ID+"/events", message("read it"))
	n.until(fork.ID, "idle")
	items := n.items(fork.ID)
	if said := items[len(items)-1].text(); said != "overwritten" {
		t.Errorf("the fork says %q", said)
	}
	n.verify(fork.ID)
}
