package memories

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/keeper"
	"github.com/stayd/stayd/internal/memory/transfer"
	"github.com/stayd/stayd/internal/store"
)

const (
	// maxImport is the largest file that is imported, in bytes.
	maxImport = 1 << 30
	// importBatch is how many memories are written at once.
	importBatch = 1000
	// maxExamples is how many places of one kind of loss are told.
	maxExamples = 3
)

// importObject says what became of a file.
type importObject struct {
	Object string `json:"object" enum:"memory.import"`
	transfer.Report
	Written  int `json:"written" doc:"Memories that are new."`
	Repeated int `json:"repeated" doc:"Memories that were there already."`
}

// intake brings the drafts of one file into a project.
type intake struct {
	keeper  *keeper.Keeper
	project string
	format  transfer.Format
	out     importObject
	batch   []memory.Record
	// held are those that take the place of one that is not there: it may come
	// later in the file.
	held []memory.Record
	// left has the ids of those that were left out, with what takes their places.
	left map[string]bool
	// refused has the ids of those that cannot be kept as they are.
	refused map[string]bool
	// placed has the ids of memories of our own format by those that they had in
	// the file, both packed.
	placed map[[16]byte][16]byte
	failed error // of the keeper, and not of the file
}

func (a *api) importFile(c *httpapi.Call) (any, error) {
	values := c.URL.Query()
	body, err := c.Bytes(maxImport)
	if err != nil {
		return nil, err
	}
	opts := transfer.Options{Format: transfer.Format(values.Get("format")), Actor: values.Get("actor"), From: values.Get("from"), At: a.Keeper.Now().UTC()}
	r := io.Reader(body)
	if opts.Format == "" {
		if opts.Format, r, err = transfer.Detect(body); err != nil {
			return nil, badFile(err, 0)
		}
	}
	switch {
	case !slices.Contains(transfer.Formats(), opts.Format):
		return nil, httpapi.Invalid("format", "Invalid value: '"+string(opts.Format)+"'. Supported values are: 'stayd', 'mem0', 'letta', 'langgraph', 'agentcore'.")
	case opts.Format != transfer.Stayd && (opts.Actor == "" || opts.Actor == transfer.Everybody):
		return nil, httpapi.Invalid("actor", "Say whose memories these become: give one 'actor'.")
	}
	in := &intake{keeper: a.Keeper, project: c.Project, format: opts.Format, out: importObject{Object: "memory.import"}, left: map[string]bool{}, refused: map[string]bool{}, placed: map[[16]byte][16]byte{}}
	// What the intake loses beside what the file does is added when the file was read.
	report, err := transfer.Import(r, opts, func(draft memory.Record) error { return in.take(c.Context(), draft) })
	if err == nil {
		err = in.finish(c.Context())
	}
	switch {
	case in.failed != nil:
		return nil, answer(in.failed, "")
	case err != nil:
		return nil, badFile(err, in.out.Written+in.out.Repeated)
	}
	report.Lost = append(report.Lost, in.out.Lost...)
	report.Kept = in.out.Written + in.out.Repeated
	in.out.Report = report
	return in.out, nil
}

// badFile is the error of a file that cannot be imported. What was written before
// stays, and the same file can be imported again.
func badFile(err error, written int) error {
	var ours *httpapi.Error
	var large *http.MaxBytesError
	if errors.As(err, &ours) || errors.As(err, &large) {
		return err
	}
	message := "The file cannot be imported: " + err.Error() + "."
	if written > 0 {
		message += fmt.Sprintf(" %d memories before that are there; when it is mended, the whole file can be imported again.", written)
	}
	return httpapi.Invalid("", message)
}

func (in *intake) take(ctx context.Context, draft memory.Record) error {
	r := transfer.Place(in.project, in.format, draft)
	if r.Actor == "" {
		r.Actor = actorOf(r.Namespace)
	}
	if r.Supersedes == r.ID {
		in.cut(&r)
	}
	if err := in.sources(ctx, &r, draft.Source.RecordIDs); err != nil {
		return err
	}
	if old, ok := store.PackMemoryID(draft.ID); ok {
		in.placed[old], _ = store.PackMemoryID(r.ID)
	}
	in.batch = append(in.batch, r)
	if len(in.batch) < importBatch {
		return nil
	}
	return in.flush(ctx)
}

// sources names the memories that the record was drawn from as they are called
// here, in whatever space they are: those that came before it in the file, and
// those that the project has.
func (in *intake) sources(ctx context.Context, r *memory.Record, old []string) error {
	for i, id := range old {
		packed, ok := store.PackMemoryID(id)
		if !ok {
			continue
		}
		if here, ok := in.placed[packed]; ok {
			name, err := store.UnpackMemoryID(here[:])
			if err != nil {
				return err
			}
			r.Source.RecordIDs[i] = name
			continue
		}
		switch _, err := in.keeper.Get(ctx, in.project, id); {
		case err == nil:
			r.Source.RecordIDs[i] = id
		case !errors.Is(err, store.ErrNotFound):
			in.failed = err
			return err
		}
	}
	return nil
}

// flush writes what can be written of the batch and holds the rest.
func (in *intake) flush(ctx context.Context) error {
	batch := in.batch
	in.batch = nil
	ready, held, err := in.split(ctx, batch)
	if err != nil {
		return err
	}
	in.held = append(in.held, held...)
	return in.write(ctx, ready)
}

// finish writes what is left. What takes the place of a memory that is nowhere
// is kept without saying so.
func (in *intake) finish(ctx context.Context) error {
	if err := in.flush(ctx); err != nil {
		return err
	}
	ready, held, err := in.split(ctx, in.held)
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for i := range held {
		there[held[i].ID] = true
	}
	for i := range held {
		if !there[held[i].Supersedes] {
			in.cut(&held[i])
		}
	}
	return in.write(ctx, append(ready, held...))
}

// split divides records into those that can be written together and those that
// take the place of one that is not there. What the project believes otherwise
// by now is left out.
func (in *intake) split(ctx context.Context, records []memory.Record) (ready, held []memory.Record, err error) {
	here := map[string]*memory.Record{}
	for i := range records {
		here[records[i].ID] = &records[i]
	}
	waits := map[string]bool{}
	for again := true; again; {
		again = false
		for i := range records {
			r := &records[i]
			if r.Supersedes == "" || waits[r.ID] || in.left[r.ID] {
				continue
			}
			old, err := in.older(ctx, r, here)
			if err != nil {
				return nil, nil, err
			}
			switch {
			case in.left[r.Supersedes] || old != nil && old.SupersededBy != "" && old.SupersededBy != r.ID:
				in.left[r.ID], again = true, true
				in.lose("other_version", "versions that replace a memory which was replaced by another: they are left out", name(r))
			case old == nil || waits[old.ID]:
				waits[r.ID], again = true, true
			}
		}
	}
	for i := range records {
		switch r := &records[i]; {
		case in.left[r.ID]:
		case waits[r.ID]:
			held = append(held, *r)
		default:
			ready = append(ready, *r)
		}
	}
	return ready, held, nil
}

// older returns the memory whose place r takes, as it is stored or else in the
// batch; nil where it is nowhere.
func (in *intake) older(ctx context.Context, r *memory.Record, here map[string]*memory.Record) (*memory.Record, error) {
	old, err := in.keeper.Get(ctx, in.project, r.Supersedes)
	switch {
	case err == nil:
		return &old, nil
	case !errors.Is(err, store.ErrNotFound):
		in.failed = err
		return nil, err
	}
	return here[r.Supersedes], nil
}

// write writes records; one that cannot be kept is left out.
func (in *intake) write(ctx context.Context, records []memory.Record) error {
	fit := make([]memory.Record, 0, len(records))
	for _, r := range records {
		if err := storable(&r); err != nil {
			in.refuse(&r, err)
			continue
		}
		if in.refused[r.Supersedes] {
			in.cut(&r)
		}
		fit = append(fit, r)
	}
	if len(fit) == 0 {
		return nil
	}
	asked := slices.Clone(fit)
	written, repeated, err := in.keeper.Write(ctx, in.project, fit)
	if bad := new(keeper.BadRecordError); errors.As(err, &bad) {
		if len(asked) == 1 {
			in.refuse(&asked[0], bad)
			return nil
		}
		for i := range asked { // one by one, to find those that are bad
			if err := in.write(ctx, asked[i:i+1]); err != nil {
				return err
			}
		}
		return nil
	}
	if err != nil {
		in.failed = err
		return err
	}
	for i := range written {
		if !repeated[i] {
			in.out.Written++
			continue
		}
		in.out.Repeated++
		if written[i].Text != asked[i].Text {
			in.lose("other_text", "memories whose id is there with another text: what is there stays", name(&asked[i]))
		}
	}
	return nil
}

func (in *intake) refuse(r *memory.Record, err error) {
	in.lose("refused", "memories that cannot be kept as they are", name(r)+": "+err.Error())
	in.refused[r.ID] = true
}

// cut keeps a version without its older one.
func (in *intake) cut(r *memory.Record) {
	in.lose("older_version", "versions without their older one: that they replaced it is not kept", name(r))
	r.Supersedes = ""
}

// name is what a memory is called in its file, or its id.
func name(r *memory.Record) string { return cmp.Or(r.Source.External, r.ID) }

// lose reports one thing that is not kept.
func (in *intake) lose(kind, what, example string) {
	for i := range in.out.Lost {
		if l := &in.out.Lost[i]; l.Kind == kind {
			l.Count++
			if len(l.Examples) < maxExamples {
				l.Examples = append(l.Examples, example)
			}
			return
		}
	}
	in.out.Lost = append(in.out.Lost, transfer.Loss{Kind: kind, What: what, Count: 1, Examples: []string{example}})
}
