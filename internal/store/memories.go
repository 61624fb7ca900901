package store

import (
	"context"
	"time"

	"github.com/stayd/stayd/internal/memory"
)

// Memories keeps the records of long-term memory, space by space, and the pieces
// of the spaces' indexes. A record that was written is seen by every read that
// begins afterwards, on any node.
type Memories interface {
	// WriteMemories changes one space, or nothing. A record whose id the space has
	// is not written again, and comes back as it is stored, with its place in
	// Repeated. It supersedes nothing then but records that are new: what it would
	// supersede beside them stays as it is, and need not be there.
	//
	// Errors: ErrNotFound where a record that is to be superseded is not there, or the
	// session is deleted, ErrConflict where another than By has superseded it, ErrFull,
	// ErrUnavailable.
	WriteMemories(ctx context.Context, w *MemoryWrite) (MemoryWritten, error)

	// Memory returns a record by its id.
	Memory(ctx context.Context, project, id string) (memory.Record, error)
	// MemoriesByNum returns the records with these numbers, in any order; those
	// that are not there are left out.
	MemoriesByNum(ctx context.Context, project, space string, nums []int64) ([]memory.Record, error)
	// ListMemories lists records by RecordedAt and id.
	ListMemories(ctx context.Context, q MemoryQuery) ([]memory.Record, error)
	// MemoryChanges returns the space as it is, and up to limit records that were
	// written or changed after the change, in the order of their changes. A space
	// that is not there has none and is the zero value.
	MemoryChanges(ctx context.Context, project, space string, after int64, limit int) (MemorySpace, []memory.Record, error)
	// MemorySpaces lists the spaces that hold or may hold records below the
	// namespace ("/" is all), by name, beginning after the one with the name after.
	MemorySpaces(ctx context.Context, project, namespace, after string, limit int) ([]MemorySpace, error)
	// MemoryProjects lists the projects that have spaces, by name.
	MemoryProjects(ctx context.Context) ([]string, error)
	// ExpiredMemories lists records of all projects whose ExpiresAt is not after
	// before, the longest expired first.
	ExpiredMemories(ctx context.Context, before time.Time, limit int) ([]memory.Record, error)
	// DrawnMemories returns those of the project's records that were drawn from, or
	// took the place of, one with any of these ids, be that there or not: each once, in
	// any order, and without Metadata, Vector and Text. It looks them up.
	DrawnMemories(ctx context.Context, project string, ids []string) ([]memory.Record, error)
	// UnembeddedMemories lists records of the space whose vector is not of the
	// model, by number, beginning after the number.
	UnembeddedMemories(ctx context.Context, project, space, model string, after int64, limit int) ([]memory.Record, error)

	// UseMemories counts uses of the project's records. It is no change of their
	// spaces, which no index needs to know of. Those that are not there are left out.
	UseMemories(ctx context.Context, project string, uses []MemoryUse) error

	// ForgetMemories erases the records with these numbers, all of the space's
	// pieces of index, and every trace of both that the store can reach: pages that
	// are free, and the write-ahead log soon after. It raises the space's epoch and
	// returns how many records were there.
	ForgetMemories(ctx context.Context, project, space string, nums []int64) (int, error)

	// Segments lists the pieces of the space's index by From, without their data.
	Segments(ctx context.Context, project, space string) ([]Segment, error)
	// SegmentData returns the data of one piece. ErrNotFound: it was replaced.
	SegmentData(ctx context.Context, project, space string, s Segment) ([]byte, error)
	// PutSegment stores a piece of the index and deletes those that lie in its
	// range. ErrConflict: the space's epoch is another, or a piece that is there
	// overlaps it and does not lie in it.
	PutSegment(ctx context.Context, project, space string, epoch int64, s Segment, data []byte) error
}

// MemoryWrite is one atomic change of a space.
type MemoryWrite struct {
	Project string
	Space   string
	// Session is the one that writes; empty is none. What it writes is there before
	// the append that marks it deleted, or is refused.
	Session string
	// Add has new records; Num and Change are given by the store.
	Add       []memory.Record
	Supersede []Supersession
	Vectors   []MemoryVector
}

// Supersession says which record took the place of another, and since when.
type Supersession struct {
	ID string
	By string
	At time.Time
}

// MemoryVector is the vector of a record, as it was made by a model.
type MemoryVector struct {
	Num    int64
	Vector []byte
	Model  string
}

// MemoryUse is how often a record was used, and when for the last time.
type MemoryUse struct {
	ID    string
	Times int64
	At    time.Time
}

// MemoryWritten is what became of a write.
type MemoryWritten struct {
	Records  []memory.Record // as stored, in the order of Add
	Repeated []bool          // by place in Records; nil where all are new
}

// MemorySpace is the state of a space.
type MemorySpace struct {
	Project string
	Name    string
	Change  int64 // of the last write
	Epoch   int64 // raised when records are forgotten: what was read of it before is void
	Records int64
}

// MemoryQuery selects records of one project.
type MemoryQuery struct {
	Project    string
	Namespace  string // prefix; empty or "/" selects all
	Strategies []memory.Strategy
	Actor      string
	SessionID  string
	Metadata   map[string]string // all pairs must match
	// Superseded also lists what was replaced.
	Superseded bool
	After      string // the id of the record before the first; ErrNotFound where there is none
	Asc        bool
	Limit      int
}

// Segment is one piece of a space's index: that of the records whose last
// change lies from From to To.
type Segment struct {
	From, To int64
	Size     int64 // of the data, in bytes
}
