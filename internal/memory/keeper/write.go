package keeper

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/embed"
	"github.com/stayd/stayd/internal/store"
)

// MaxText is the longest text of a record, in bytes.
const MaxText = 32 << 10

// BadRecordError is a record that cannot be kept as it is.
type BadRecordError struct {
	Param   string // the field at fault
	Message string
}

func (e *BadRecordError) Error() string { return e.Message }

// Write keeps new records of one project, and returns them as they are stored, in
// their order, and which of them were there already. A record without an id gets
// a new one. Records of one space are kept together or not at all; over several
// spaces, an error may come after some are kept, and the same records can be
// written again.
//
// A record is drawn from records that are there. One that does not say when it
// became true says it in its text, see Became.
func (k *Keeper) Write(ctx context.Context, project string, records []memory.Record) ([]memory.Record, []bool, error) {
	return k.WriteFor(ctx, project, "", records)
}

// WriteFor is Write for a session: once that is deleted, nothing is written.
// ErrNotFound: it is deleted.
func (k *Keeper) WriteFor(ctx context.Context, project, session string, records []memory.Record) ([]memory.Record, []bool, error) {
	records = slices.Clone(records) // who writes again writes the same
	sources, err := k.sources(ctx, project, records)
	if err != nil {
		return nil, nil, err
	}
	for i := range records {
		r := &records[i]
		if err := k.checkSources(ctx, project, r, sources); err != nil {
			return nil, nil, err
		}
		setTimes(r, sources)
	}
	return k.write(ctx, project, session, records, sources)
}

// write is WriteFor of records whose times are set, and which are drawn from the
// sources as far as those are there.
func (k *Keeper) write(ctx context.Context, project, session string, records []memory.Record, sources map[string]*memory.Record) ([]memory.Record, []bool, error) {
	rules, err := k.rules(ctx, project)
	if err != nil {
		return nil, nil, err
	}
	bySpace := map[string][]int{}
	for i := range records {
		if err := k.complete(project, &records[i], rules); err != nil {
			return nil, nil, err
		}
		bySpace[records[i].Space] = append(bySpace[records[i].Space], i)
	}
	if err := k.embed(ctx, records); err != nil {
		return nil, nil, err
	}
	repeated, err := k.writeSpaces(ctx, project, session, records, bySpace)
	if err != nil {
		return nil, nil, err
	}
	return records, repeated, k.recheckSources(ctx, project, records, repeated, sources)
}

// writeSpaces writes the records, whose places it has by space, and puts them as
// they are stored in their places.
func (k *Keeper) writeSpaces(ctx context.Context, project, session string, records []memory.Record, bySpace map[string][]int) ([]bool, error) {
	repeated := make([]bool, len(records))
	for name, places := range bySpace {
		w := store.MemoryWrite{Project: project, Space: name, Session: session}
		for _, i := range places {
			r := &records[i]
			w.Add = append(w.Add, *r)
			if r.Supersedes != "" {
				w.Supersede = append(w.Supersede, store.Supersession{ID: r.Supersedes, By: r.ID, At: r.RecordedAt})
			}
		}
		done, err := k.Store.WriteMemories(ctx, &w)
		if err != nil {
			return nil, err
		}
		for n, i := range places {
			records[i] = done.Records[n]
			repeated[i] = done.Repeated != nil && done.Repeated[n]
		}
		k.unembedded(spaceName{project, name}, done.Records)
	}
	return repeated, nil
}

// complete fills in what a writer may leave out, and refuses what cannot be kept.
func (k *Keeper) complete(project string, r *memory.Record, rules []Rule) error {
	bad := func(param, format string, args ...any) error {
		return &BadRecordError{Param: param, Message: fmt.Sprintf(format, args...)}
	}
	ns, err := memory.ParseNamespace(r.Namespace)
	if err != nil {
		return bad("namespace", "%v", err)
	}
	r.Project, r.Namespace, r.Space = project, ns, memory.SpaceOf(ns)
	r.Origin = cmp.Or(r.Origin, memory.OriginClient)
	switch {
	case !slices.Contains(memory.Strategies(), r.Strategy):
		return bad("strategy", "The strategy '%s' is none of %v.", r.Strategy, memory.Strategies())
	case r.Text == "":
		return bad("text", "The text is empty.")
	case len(r.Text) > MaxText:
		return bad("text", "The text has %d bytes, more than %d. Split it into several memories.", len(r.Text), MaxText)
	case !utf8.ValidString(r.Text):
		return bad("text", "The text is not UTF-8.")
	case slices.Contains([]byte(r.Text), 0):
		return bad("text", "The text has a NUL character.")
	case !r.ValidTo.IsZero() && !r.ValidTo.After(r.ValidFrom):
		return bad("valid_to", "valid_to is not after valid_from.")
	case r.Confidence < 0 || r.Confidence > 1:
		return bad("confidence", "The confidence is %v, and has to lie from 0 to 1.", r.Confidence)
	}
	now := k.Now().UTC().Truncate(time.Microsecond)
	if r.RecordedAt.IsZero() {
		r.RecordedAt = now
	}
	for i := range rules {
		rule := &rules[i]
		if rule.ExpireAfterSeconds == 0 || !rule.covers(ns) {
			continue
		}
		at := r.RecordedAt.Add(time.Duration(rule.ExpireAfterSeconds) * time.Second)
		if r.ExpiresAt.IsZero() || at.Before(r.ExpiresAt) {
			r.ExpiresAt = at
		}
	}
	if r.ID == "" {
		r.ID = memory.ID(project, r.Space, uuid.NewString())
	}
	return nil
}

// embed gives the records their vectors, where that takes no time.
func (k *Keeper) embed(ctx context.Context, records []memory.Record) error {
	if k.Embedder == nil || !k.Local {
		return nil
	}
	texts := make([]string, len(records))
	for i := range records {
		texts[i] = records[i].Text
	}
	vectors, err := k.Embedder.Embed(ctx, texts)
	if err != nil {
		return fmt.Errorf("make vectors: %w", err)
	}
	for i := range records {
		records[i].Vector, records[i].VectorModel = embed.Encode(vectors[i]), k.Embedder.Model()
	}
	return nil
}

// Change is what a newer version of a record says otherwise. What is nil stays.
type Change struct {
	// Key makes the version the same one when it is written again; empty makes a
	// new one each time.
	Key string
	// Session is the one that changes it, as with WriteFor; empty is none.
	Session    string
	Text       *string
	Metadata   map[string]string
	ValidFrom  *time.Time
	ValidTo    *time.Time
	Confidence *float64
	Origin     memory.Origin // of the new words
	Source     *memory.Source
}

// SupersededError says that a record is not the newest version of what it says.
type SupersededError struct{ ID, By string }

func (e *SupersededError) Error() string {
	return fmt.Sprintf("The memory '%s' was superseded by '%s'. Change that one.", e.ID, e.By)
}

// Update supersedes a record by a newer version of it, which it returns. The
// older one stays as what was believed until now. Where the new text names a date
// and the change does not, the version holds from that date on; else it holds as
// the older one did.
func (k *Keeper) Update(ctx context.Context, project, id string, c Change) (memory.Record, error) {
	old, err := k.Store.Memory(ctx, project, id)
	if err != nil {
		return old, err
	}
	r := old
	r.ID, r.Supersedes, r.SupersededBy, r.SupersededAt = "", old.ID, "", time.Time{}
	r.Vector, r.VectorModel, r.Uses, r.UsedAt = nil, "", 0, time.Time{}
	// The clock of another node may be ahead, and wrote the older one.
	if r.RecordedAt = k.Now(); r.RecordedAt.Before(old.RecordedAt) {
		r.RecordedAt = old.RecordedAt
	}
	if c.Key != "" {
		r.ID = memory.ID(project, r.Space, "update", id, c.Key)
	}
	if old.SupersededBy != "" && old.SupersededBy != r.ID {
		return old, &SupersededError{ID: id, By: old.SupersededBy}
	}
	c.apply(&r)
	records := []memory.Record{r}
	sources, err := k.sources(ctx, project, records)
	if err != nil {
		return old, err
	}
	if err := c.check(&old, sources); err != nil {
		return old, err
	}
	c.date(&records[0], sources)
	written, _, err := k.write(ctx, project, c.Session, records, sources)
	if errors.Is(err, store.ErrConflict) {
		if now, getErr := k.Store.Memory(ctx, project, id); getErr == nil && now.SupersededBy != "" {
			return now, &SupersededError{ID: id, By: now.SupersededBy}
		}
	}
	if err != nil {
		return old, err
	}
	return written[0], nil
}

func (c *Change) apply(r *memory.Record) {
	if c.Text != nil {
		r.Text = *c.Text
	}
	if c.Metadata != nil {
		r.Metadata = c.Metadata
	}
	if c.ValidFrom != nil {
		r.ValidFrom = *c.ValidFrom
	}
	if c.ValidTo != nil {
		r.ValidTo = *c.ValidTo
	}
	if c.Confidence != nil {
		r.Confidence = *c.Confidence
	}
	if c.Origin != "" {
		r.Origin = c.Origin
	}
	if c.Source != nil {
		r.Source = *c.Source
	}
}

// check refuses a new source that is not there. What the older version was drawn
// from may have expired.
func (c *Change) check(old *memory.Record, sources map[string]*memory.Record) error {
	if c.Source == nil {
		return nil
	}
	for _, id := range c.Source.RecordIDs {
		if sources[id] == nil && !slices.Contains(old.Source.RecordIDs, id) {
			return MissingSource(id)
		}
	}
	return nil
}

// date gives the version the time that its text names.
func (c *Change) date(r *memory.Record, sources map[string]*memory.Record) {
	if c.Text == nil || c.ValidFrom != nil || !dated(r.Strategy) {
		return
	}
	var at time.Time
	if c.Source != nil {
		at = saidAt(&memory.Record{Source: *c.Source}, sources)
	}
	from, to := Became(r.Text, at)
	if from.Equal(at) && to.IsZero() {
		return // it names none
	}
	if c.ValidTo == nil {
		r.ValidTo = to
	}
	if r.ValidTo.IsZero() || from.Before(r.ValidTo) {
		r.ValidFrom = from
	}
}
