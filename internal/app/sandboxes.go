package app

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/bubblewrap"
	"github.com/stayd/stayd/internal/environment/gvisor"
	"github.com/stayd/stayd/internal/environment/js"
	"github.com/stayd/stayd/internal/environment/shell"
	"github.com/stayd/stayd/internal/event"
)

func openSandboxes(cfg *Config) (map[string]environment.Driver, error) {
	var data []shell.Mount
	for _, d := range cfg.DataSets {
		m, err := parseDataSet(d)
		if err != nil {
			return nil, err
		}
		data = append(data, m)
	}
	code := js.NewEngine(js.Limits{})
	return map[string]environment.Driver{
		event.SandboxJS:         js.New(code),
		event.SandboxBubblewrap: bubblewrap.New(bubblewrap.Config{Code: code, Helper: cfg.SandboxHelper, Data: data}),
		event.SandboxGVisor:     gvisor.New(gvisor.Config{Code: code, Helper: cfg.SandboxHelper, Data: data}),
	}, nil
}

// preferred are the sandboxes in the order in which they are taken where a
// session names none: the one that keeps the most from its code first.
var preferred = []string{event.SandboxGVisor, event.SandboxBubblewrap}

// chooseTimeout bounds the trial of all of them.
const chooseTimeout = 30 * time.Second

// defaultSandbox is the first that works on this machine.
func (t *tools) defaultSandbox() string {
	t.choose.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), chooseTimeout)
		defer cancel()
		t.chosen = event.SandboxJS
		for _, name := range preferred {
			if t.sandboxes[name].Check(ctx) == nil {
				t.chosen = name
				return
			}
		}
	})
	return t.chosen
}

var dataSetName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$`)

// parseDataSet reads NAME=FOLDER.
func parseDataSet(s string) (shell.Mount, error) {
	name, folder, ok := strings.Cut(s, "=")
	if !ok || !dataSetName.MatchString(name) || !filepath.IsAbs(folder) {
		return shell.Mount{}, fmt.Errorf("dataset %q is not NAME=FOLDER with an absolute folder", s)
	}
	return shell.Mount{Host: filepath.Clean(folder), Path: path.Join("/data", name)}, nil
}

// Limits says, by the name of a sandbox that runs programs, how it limits and
// confines them on this machine.
func (a *App) Limits() map[string]string {
	out := map[string]string{}
	for name, d := range a.tools.sandboxes {
		l, ok := d.(interface{ MemoryLimit() string })
		switch {
		case !ok:
		case l.MemoryLimit() == "RLIMIT_AS", l.MemoryLimit() == "":
			out[name] = "no control groups can be used here, so memory and processes are limited for each program alone"
		default:
			out[name] = "limited by " + l.MemoryLimit()
		}
		if l, ok := d.(interface{ Landlock() bool }); ok && l.Landlock() {
			out[name] += "; confined by Landlock, too"
		} else if ok {
			out[name] += "; without Landlock, which takes Linux 5.19"
		}
	}
	return out
}
