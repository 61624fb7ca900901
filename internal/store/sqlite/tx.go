package sqlite

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/stayd/stayd/internal/store"
)

// maxHeads bounds how many sessions the cache remembers.
const maxHeads = 8192

// cache holds what the writer knows of the file. All of it is true as long as
// no other connection has written, which the file's data version tells.
type cache struct {
	version  int64
	epochs   *[store.Shards]int64 // 0 where a shard was never claimed; nil before it is read
	projects map[string]int64
	heads    map[sessionKey]*head
}

type sessionKey struct{ project, session string }

// head is the end of a session's log and what its row has in columns that are
// indexed.
type head struct {
	num int64
	seq int64

	indexed          bool // the rest is known
	agent            string
	forked, actor    string
	created, wake    int64 // microseconds; wake is 0 for never
	deleted, hasWake bool
}

func (c *cache) clear() {
	*c = cache{projects: map[string]int64{}, heads: map[sessionKey]*head{}}
}

func (c *cache) keep(k sessionKey, h *head) {
	if len(c.heads) >= maxHeads {
		for other := range c.heads {
			delete(c.heads, other)
			break
		}
	}
	// The caller's ids may be parts of something larger, a request say.
	c.heads[sessionKey{strings.Clone(k.project), strings.Clone(k.session)}] = h
}

// tx is the transaction of one group.
type tx struct {
	*conn
	cache   *cache
	written int  // bytes, about
	erased  bool // something was erased
}

// applyAll runs the requests one after the other. Its error is of the whole
// transaction; what fails by itself is noted in its request.
func (t *tx) applyAll(group []*request) error {
	version, _, err := t.one(stmtDataVersion)
	if err != nil {
		return fmt.Errorf("read the data version: %w", err)
	}
	if version != t.cache.version {
		t.cache.clear()
		t.cache.version = version
	}
	for _, r := range group {
		r.err = nil
		if r.quick {
			err = t.applyQuick(r)
		} else {
			err = t.applySaved(r)
		}
		if err != nil {
			return err
		}
		t.written += r.size
	}
	t.written += len(group)*64 + 2*pageSize
	return nil
}

// refused is the error of a request that found out, before it changed anything,
// that it must not.
type refused struct{ err error }

func (r refused) Error() string { return r.err.Error() }
func (r refused) Unwrap() error { return r.err }

func refuse(kind error, format string, args ...any) error {
	return refused{fmt.Errorf(format+": %w", append(args, kind)...)}
}

func (t *tx) applyQuick(r *request) error {
	err := r.apply(t)
	var no refused
	if errors.As(err, &no) {
		r.err = no.err
		return nil
	}
	return err
}

// applySaved undoes a request that failed and keeps those before it.
func (t *tx) applySaved(r *request) error {
	if _, err := t.exec(stmtSavepoint); err != nil {
		return err
	}
	err := r.apply(t)
	var no refused
	switch {
	case errors.As(err, &no):
		r.err = no.err
		if _, err := t.exec(stmtRollbackTo); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	_, err = t.exec(stmtRelease)
	return err
}

// epochs returns the epoch of every shard.
func (t *tx) epochs() (*[store.Shards]int64, error) {
	if t.cache.epochs == nil {
		var epochs [store.Shards]int64
		err := t.each(stmtEpochs, func(row []driver.Value) {
			shard, _ := row[0].(int64)
			epoch, _ := row[1].(int64)
			if shard >= 0 && shard < store.Shards {
				epochs[shard] = epoch
			}
		})
		if err != nil {
			return nil, fmt.Errorf("read the leases: %w", err)
		}
		t.cache.epochs = &epochs
	}
	return t.cache.epochs, nil
}

// project returns the project's number, which it makes where add is set, and 0
// where there is none.
func (t *tx) project(id string, add bool) (int64, error) {
	if num, ok := t.cache.projects[id]; ok {
		return num, nil
	}
	num, found, err := t.one(stmtProject, id)
	if err != nil {
		return 0, fmt.Errorf("find project: %w", err)
	}
	if !found {
		if !add {
			return 0, nil
		}
		if num, err = t.exec(stmtAddProject, id); err != nil {
			return 0, fmt.Errorf("add project: %w", err)
		}
	}
	t.cache.projects[strings.Clone(id)] = num
	return num, nil
}

// head returns the head of a session's log, which is empty and has no number
// where there is no such session.
func (t *tx) head(k sessionKey) (*head, error) {
	if h := t.cache.heads[k]; h != nil {
		return h, nil
	}
	h := &head{}
	project, err := t.project(k.project, false)
	if err != nil || project == 0 {
		return h, err
	}
	num, found, err := t.one(stmtSession, project, k.session)
	if err != nil {
		return nil, fmt.Errorf("find session: %w", err)
	}
	if !found {
		return h, nil
	}
	h.num = num
	if h.seq, _, err = t.one(stmtHead, num); err != nil {
		return nil, fmt.Errorf("find the head: %w", err)
	}
	t.cache.keep(k, h)
	return h, nil
}

func micros(t time.Time) int64 { return t.UnixMicro() }

func now() int64 { return time.Now().UnixMicro() }

func fromMicros(us int64) time.Time { return time.UnixMicro(us).UTC() }
