package transfer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/stayd/stayd/internal/memory"
)

// What the header of our own format says.
const (
	formatName = "stayd-memory"
	version    = 1
)

// Header is the first line of a file in our own format. Actor and Namespace say
// what was asked for; either may be empty.
type Header struct {
	Format     string    `json:"format"`
	Version    int       `json:"version"`
	ExportedAt time.Time `json:"exported_at"`
	Actor      string    `json:"actor,omitempty"`
	Namespace  string    `json:"namespace,omitempty"`
}

// line is a record as our own format writes it. Its fields are those of
// memory.Record; what only means something in one project or one store is left
// out, and Space follows from Namespace.
type line struct {
	ID           string            `json:"id"`
	Namespace    string            `json:"namespace"`
	Strategy     memory.Strategy   `json:"strategy"`
	Actor        string            `json:"actor,omitzero"`
	Text         string            `json:"text"`
	Origin       memory.Origin     `json:"origin"`
	Confidence   float64           `json:"confidence,omitzero"`
	Metadata     map[string]string `json:"metadata,omitzero"`
	Source       *memory.Source    `json:"source,omitempty"`
	ValidFrom    time.Time         `json:"valid_from,omitzero"`
	ValidTo      time.Time         `json:"valid_to,omitzero"`
	RecordedAt   time.Time         `json:"recorded_at,omitzero"`
	SupersededAt time.Time         `json:"superseded_at,omitzero"`
	SupersededBy string            `json:"superseded_by,omitzero"`
	Supersedes   string            `json:"supersedes,omitzero"`
	ExpiresAt    time.Time         `json:"expires_at,omitzero"`
	Vector       []byte            `json:"vector,omitzero"` // base64
	VectorModel  string            `json:"vector_model,omitzero"`
	Uses         int64             `json:"uses,omitzero"`
	UsedAt       time.Time         `json:"used_at,omitzero"`
}

// Writer writes our own format. It must be closed, and is then done with; what
// it writes to stays open.
type Writer struct {
	buf     *bufio.Writer
	enc     *json.Encoder
	vectors bool
}

// NewWriter writes the header to w; its format and version are set here. Vectors
// are written if asked for: they are large, and can be made anew.
func NewWriter(w io.Writer, h Header, vectors bool) (*Writer, error) {
	h.Format, h.Version, h.ExportedAt = formatName, version, h.ExportedAt.UTC()
	buf := bufio.NewWriter(w)
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(h); err != nil {
		return nil, fmt.Errorf("writing the header: %w", err)
	}
	return &Writer{buf: buf, enc: enc, vectors: vectors}, nil
}

// Write writes a record. One that the reader would not give back as it is, is
// refused.
func (w *Writer) Write(rec *memory.Record) error {
	l := line{
		ID: rec.ID, Namespace: rec.Namespace, Strategy: rec.Strategy, Actor: rec.Actor, Text: rec.Text, Origin: rec.Origin,
		Confidence: rec.Confidence, Metadata: rec.Metadata,
		ValidFrom: rec.ValidFrom.UTC(), ValidTo: rec.ValidTo.UTC(), RecordedAt: rec.RecordedAt.UTC(), SupersededAt: rec.SupersededAt.UTC(),
		SupersededBy: rec.SupersededBy, Supersedes: rec.Supersedes, ExpiresAt: rec.ExpiresAt.UTC(), Uses: rec.Uses, UsedAt: rec.UsedAt.UTC(),
	}
	if w.vectors {
		l.Vector, l.VectorModel = rec.Vector, rec.VectorModel
	}
	if s := rec.Source; !isZeroSource(s) {
		l.Source = &s
	}
	err := l.check()
	if err == nil {
		err = l.characters()
	}
	if err == nil {
		err = w.enc.Encode(l)
	}
	if err != nil {
		return fmt.Errorf("writing memory %s: %w", rec.ID, err)
	}
	return nil
}

// Close writes out what is buffered.
func (w *Writer) Close() error { return w.buf.Flush() }

func isZeroSource(s memory.Source) bool {
	b, err := json.Marshal(s)
	return err == nil && string(b) == "{}"
}

// characters refuses bytes that are no text: JSON would replace them.
func (l *line) characters() error {
	texts := []string{l.Text, l.Actor, l.Namespace, l.ID, l.Supersedes, l.SupersededBy, l.VectorModel}
	if s := l.Source; s != nil {
		texts = append(texts, s.SessionID, s.TurnID, s.Speaker, s.Label, s.Model, s.Prompt, s.External)
		texts = append(append(texts, s.ItemIDs...), s.RecordIDs...)
	}
	for k, v := range l.Metadata {
		texts = append(texts, k, v)
	}
	for _, t := range texts {
		if !utf8.ValidString(t) {
			return fmt.Errorf("%q has bytes that are not UTF-8", clip(t))
		}
	}
	return nil
}

// check says what no record can be.
func (l *line) check() error {
	ns, err := memory.ParseNamespace(l.Namespace)
	switch {
	case err != nil:
		return err
	case ns != l.Namespace:
		return fmt.Errorf("the namespace %q is written %q", l.Namespace, ns)
	case l.ID == "":
		return errors.New("it has no id")
	case l.Text == "":
		return errors.New("it has no text")
	case !slices.Contains(memory.Strategies(), l.Strategy):
		return fmt.Errorf("there is no strategy %q: it is one of %v", l.Strategy, memory.Strategies())
	case !slices.Contains(origins, l.Origin):
		return fmt.Errorf("there is no origin %q: it is one of %v", l.Origin, origins)
	case l.Confidence < 0 || l.Confidence > 1:
		return fmt.Errorf("the confidence %v is not between 0 and 1", l.Confidence)
	case l.Uses < 0 || l.Uses > maxUses:
		return fmt.Errorf("it was used %d times, which is not from 0 to %d", l.Uses, int64(maxUses))
	case l.Vector != nil && l.VectorModel == "":
		return errors.New("it has a vector and does not say of which model")
	}
	return nil
}

// maxUses leaves room for those that are counted afterwards.
const maxUses = 1 << 40

var origins = []memory.Origin{memory.OriginClient, memory.OriginUser, memory.OriginAgent, memory.OriginOther, memory.OriginTool}

func (l *line) record() memory.Record {
	rec := memory.Record{
		Space: memory.SpaceOf(l.Namespace), ID: l.ID, Namespace: l.Namespace, Strategy: l.Strategy, Actor: l.Actor, Text: l.Text,
		Origin: l.Origin, Confidence: l.Confidence, Metadata: l.Metadata,
		ValidFrom: l.ValidFrom, ValidTo: l.ValidTo, RecordedAt: l.RecordedAt, SupersededAt: l.SupersededAt,
		SupersededBy: l.SupersededBy, Supersedes: l.Supersedes, ExpiresAt: l.ExpiresAt,
		Vector: l.Vector, VectorModel: l.VectorModel, Uses: l.Uses, UsedAt: l.UsedAt,
	}
	if l.Source != nil {
		rec.Source = *l.Source
	}
	return rec
}

// stayd reads our own format.
func (im *importer) stayd(r io.Reader) error {
	lines := newLines(r)
	first, err := lines.next()
	if errors.Is(err, io.EOF) {
		return errors.New("the file is empty: its first line should be a header")
	}
	if err != nil {
		return err
	}
	if err := checkHeader(first); err != nil {
		return fmt.Errorf("line %d: the header: %w", lines.number, err)
	}
	for {
		raw, err := lines.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		at := fmt.Sprintf("line %d", lines.number)
		var l line
		if err := strict(raw, &l); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
		if err := l.check(); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
		im.report.Read++
		if im.opts.Actor != "" && im.theirs(l.Actor, at) {
			continue
		}
		im.report.Kept++
		if err := im.keep(l.record()); err != nil {
			return err
		}
	}
}

func checkHeader(raw []byte) error {
	var kind struct {
		Format  string `json:"format"`
		Version int    `json:"version"`
	}
	if err := json.Unmarshal(raw, &kind); err != nil {
		return explain(err)
	}
	if kind.Format != formatName {
		return fmt.Errorf("the format is %q, not %q", kind.Format, formatName)
	}
	if kind.Version != version {
		return fmt.Errorf("the version is %d, and this program reads version %d: export with a program of the same version, or take a newer one to import",
			kind.Version, version)
	}
	var h Header
	return strict(raw, &h)
}

// strict reads one value, all of whose fields are known.
func strict(raw []byte, into any) error {
	if err := encoding(raw); err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return explain(err)
	}
	if dec.More() {
		return errors.New("there is more than one JSON value on the line")
	}
	return nil
}
