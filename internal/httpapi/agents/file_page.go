package agents

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/snapshot"
)

// filePage is a page of files. Next is what to ask for the page after it with.
type filePage struct {
	Object  string            `json:"object" enum:"list"`
	Data    []environmentFile `json:"data"`
	HasMore bool              `json:"has_more"`
	Next    *string           `json:"next"`
}

func (a *api) listEnvironmentFiles(c *httpapi.Call) (any, error) {
	r, root, err := a.hostedRoom(c, "")
	if err != nil {
		return nil, err
	}
	p, err := c.Pages()
	if err != nil {
		return nil, err
	}
	q := c.URL.Query()
	l := &lister{tree: snapshot.New(a.Blobs, c.Project), root: root, asc: p.Asc, limit: p.Limit + 1}
	if l.folder, err = folderBelow("path", q.Get("path")); err != nil {
		return nil, err
	}
	if token := q.Get("page"); token != "" {
		if err := l.resume(token); err != nil {
			return nil, err
		}
	}
	if err := l.begin(c.Context()); err != nil {
		return nil, err
	}
	out := filePage{Object: "list", Data: []environmentFile{}, HasMore: len(l.found) > p.Limit}
	for i := range l.found[:min(len(l.found), p.Limit)] {
		out.Data = append(out.Data, renderFile(r.env.ID, &l.found[i]))
	}
	if out.HasMore {
		next := l.token(l.found[p.Limit-1].Path)
		out.Next = &next
	}
	return out, nil
}

// lister lists files of a folder and those below it, by the parts of their paths.
type lister struct {
	tree   *snapshot.Tree
	root   event.Hash
	folder string
	asc    bool
	after  []string // the parts of the path, below the folder, of the last file before the page
	limit  int
	found  []snapshot.Entry
}

func (l *lister) begin(ctx context.Context) error {
	if l.folder != "" {
		e, err := lookup(ctx, l.tree, l.root, l.folder)
		switch {
		case err != nil:
			return err
		case e.Kind != snapshot.Dir:
			return conflict("path", "'"+shownPath(l.folder)+"' is a file, not a folder.")
		}
	}
	return l.list(ctx, l.folder, l.after)
}

// list adds what is in a folder. after is what is left of the path of the last
// file before the page, where that is in this folder.
func (l *lister) list(ctx context.Context, folder string, after []string) error {
	entries, err := l.tree.List(ctx, l.root, folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list %s: %w", shownPath(folder), err)
	}
	if !l.asc {
		slices.Reverse(entries)
	}
	for i := range entries {
		e := &entries[i]
		var rest []string
		if len(after) > 0 {
			order := strings.Compare(e.Path[strings.LastIndexByte(e.Path, '/')+1:], after[0])
			if !l.asc {
				order = -order
			}
			if order < 0 || order == 0 && len(after) == 1 && e.Kind == snapshot.File {
				continue
			}
			if order == 0 {
				rest = after[1:]
			}
		}
		if e.Kind == snapshot.File {
			l.found = append(l.found, *e)
		}
		if e.Kind == snapshot.Dir {
			if err := l.list(ctx, e.Path, rest); err != nil {
				return err
			}
		}
		if len(l.found) >= l.limit {
			return nil
		}
	}
	return nil
}

// token names the place after a file, in this listing and no other.
func (l *lister) token(last string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(l.head() + last))
}

func (l *lister) head() string {
	order := "d"
	if l.asc {
		order = "a"
	}
	return order + l.folder + "\x00"
}

func (l *lister) resume(token string) error {
	data, err := base64.RawURLEncoding.DecodeString(token)
	last, ok := strings.CutPrefix(string(data), l.head())
	if err == nil && ok && l.folder != "" {
		last, ok = strings.CutPrefix(last, l.folder+"/")
	}
	if err != nil || !ok || last == "" {
		return httpapi.Invalid("page", "This is not the next page of this listing. Give what the page before has as 'next', and keep path and order.")
	}
	l.after = strings.Split(last, "/")
	return nil
}

// decodedSize is the size of what is in base64, which was checked.
func decodedSize(data string) *int64 {
	decoded, err := base64.StdEncoding.DecodeString(data)
	if err != nil {
		return nil
	}
	n := int64(len(decoded))
	return &n
}
