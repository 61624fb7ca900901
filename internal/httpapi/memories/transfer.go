package memories

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/memory/transfer"
	"github.com/stayd/stayd/internal/store"
)

func (a *api) transferOperations() []httpapi.Operation {
	what := []httpapi.Param{
		{Name: "actor", Doc: "Only memories about this actor."},
		{Name: "namespace", Doc: "Only memories below this prefix."},
		{Name: "vectors", Doc: "true also writes the vectors."},
	}
	into := []httpapi.Param{
		{Name: "format", Doc: "stayd, mem0, letta, langgraph or agentcore. Defaults to what the file looks like."},
		{Name: "actor", Doc: "Whom the memories are about."},
		{Name: "from", Doc: "The actor's name in the file, where it is another; * takes everybody's."},
	}
	return []httpapi.Operation{
		{Method: http.MethodGet, Path: basePath + "/export", ID: "exportMemories", Bound: true, Summary: "Download memories as JSON Lines", Query: what, Download: true, Do: a.export},
		{Method: http.MethodPost, Path: basePath + "/import", ID: "importMemories", Summary: "Import a file of memories: our own, or one of Mem0, Letta, LangGraph or AgentCore", Query: into, Upload: httpapi.MediaBytes, Result: importObject{}, Do: a.importFile},
	}
}

// exportPage is how many records are read at once.
const exportPage = 500

// export writes a file first, since an error in the middle of an answer could not
// be told.
func (a *api) export(c *httpapi.Call) (any, error) {
	values := c.URL.Query()
	q := store.MemoryQuery{Project: c.Project, Actor: values.Get("actor"), Namespace: values.Get("namespace"), Superseded: true, Asc: true, Limit: exportPage}
	if err := a.bound(c, &q); err != nil {
		return nil, err
	}
	vectors, err := flag(values, "vectors")
	if err != nil {
		return nil, err
	}
	f, err := os.CreateTemp("", "stayd-export-*")
	if err != nil {
		return nil, fmt.Errorf("make a file for the export: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil { // it is there as long as it is open
		return nil, errors.Join(fmt.Errorf("unlink the file of the export: %w", err), f.Close())
	}
	if err := a.writeExport(c, f, q, vectors); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, errors.Join(fmt.Errorf("read the export: %w", err), f.Close())
	}
	return &httpapi.Content{Name: "memories.jsonl", Body: f}, nil
}

func (a *api) writeExport(c *httpapi.Call, f io.Writer, q store.MemoryQuery, vectors bool) error {
	w, err := transfer.NewWriter(f, transfer.Header{Actor: q.Actor, Namespace: q.Namespace, ExportedAt: a.Keeper.Now().UTC()}, vectors)
	if err != nil {
		return err
	}
	for {
		records, err := a.Keeper.List(c.Context(), q)
		if err != nil {
			return err
		}
		for i := range records {
			if err := w.Write(&records[i]); err != nil {
				return fmt.Errorf("export %s: %w", records[i].ID, err)
			}
		}
		if len(records) < q.Limit {
			return w.Close()
		}
		q.After = records[len(records)-1].ID
	}
}
