package script

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stayd/stayd/internal/model"
)

// Provider serves the scripts of a directory: the request's model NAME is the
// file NAME.yaml. A file that changed is read again by the next call. It is safe
// for use by many goroutines.
type Provider struct {
	dir      string
	attempts *attempts

	mu     sync.RWMutex
	loaded map[string]*loaded
}

// loaded is a script as the file was when it was read.
type loaded struct {
	modified time.Time
	size     int64
	script   *Script
	err      error
}

var _ model.Model = (*Provider)(nil)

// NewProvider serves the directory, which need not exist yet.
func NewProvider(dir string) *Provider {
	return &Provider{dir: dir, attempts: newAttempts(), loaded: map[string]*loaded{}}
}

// Generate plays the script that the request's Model names.
func (p *Provider) Generate(ctx context.Context, req *model.Request, emit func(model.Delta)) (*model.Response, error) {
	s, err := p.script(strings.TrimPrefix(req.Model, "script/"))
	if err != nil {
		return nil, err
	}
	return s.Generate(ctx, req, emit)
}

// Names lists the scripts of the directory, sorted. A directory that does not
// exist has none.
func (p *Provider) Names() ([]string, error) {
	entries, err := os.ReadDir(p.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list scripts: %w", err)
	}
	var names []string
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".yaml")
		if ok && !e.IsDir() && scriptName.MatchString(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Check reads every script and returns all that is wrong with them.
func (p *Provider) Check() error {
	names, err := p.Names()
	for _, name := range names {
		if _, e := p.script(name); e != nil {
			err = errors.Join(err, e)
		}
	}
	return err
}

// scriptName keeps names inside the directory.
var scriptName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

func (p *Provider) script(name string) (*Script, error) {
	if !scriptName.MatchString(name) {
		return nil, &model.Error{Code: "resource_not_found", Message: fmt.Sprintf("script/%s is not the name of a script: a name has letters, digits, dots, dashes and underscores", name)}
	}
	path := filepath.Join(p.dir, name+".yaml")
	info, err := os.Stat(path)
	if err != nil {
		return nil, p.missing(name, err)
	}
	p.mu.RLock()
	l := p.loaded[name]
	p.mu.RUnlock()
	if l == nil || !l.modified.Equal(info.ModTime()) || l.size != info.Size() {
		if l, err = p.load(name, path, info); err != nil {
			return nil, p.missing(name, err)
		}
	}
	if l.err != nil {
		return nil, &model.Error{Code: "invalid_request", Message: fmt.Sprintf("script/%s cannot be read: %v", name, l.err), Err: l.err}
	}
	return l.script, nil
}

func (p *Provider) load(name, path string, info fs.FileInfo) (*loaded, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.loaded[name]; l != nil && l.modified.Equal(info.ModTime()) && l.size == info.Size() {
		return l, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	l := &loaded{modified: info.ModTime(), size: info.Size()}
	if l.script, l.err = Parse(name, data); l.err == nil {
		l.script.attempts = p.attempts
	}
	p.loaded[name] = l
	return l, nil
}

func (p *Provider) missing(name string, err error) error {
	p.mu.Lock()
	delete(p.loaded, name)
	p.mu.Unlock()
	if !errors.Is(err, fs.ErrNotExist) {
		return &model.Error{Code: "server_error", Message: fmt.Sprintf("script/%s cannot be read", name), Err: err}
	}
	has := "there are none"
	if names, err := p.Names(); err == nil && len(names) > 0 {
		has = "there are " + strings.Join(names, ", ")
	}
	return &model.Error{Code: "resource_not_found", Message: fmt.Sprintf("no script %s: write the file %s.yaml in the directory of scripts (%s)", name, name, has), Err: err}
}
