package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"
)

// measurement is what the benches share: where and for how long they measure, and
// how they print what they found.
type measurement struct {
	dir      string
	duration time.Duration
	json     bool
}

// addFlags registers the flags of a measurement. span says what --duration is.
func (m *measurement) addFlags(fs *pflag.FlagSet, span string) {
	fs.StringVar(&m.dir, "dir", "", "folder on the disk to measure; a temporary one without it")
	fs.DurationVar(&m.duration, "duration", 5*time.Second, span)
	fs.BoolVar(&m.json, "json", false, "print one JSON object")
}

// measure runs a bench in a folder of its own, which is removed afterwards, and
// prints its result. run says by progress what it measures next.
func measure[R any](m *measurement, out io.Writer, run func(dir string, progress func(string)) (R, error), show func(*figures, R)) (err error) {
	dir, err := os.MkdirTemp(m.dir, "stayd-bench-*")
	if err != nil {
		return fmt.Errorf("make the folder of the bench: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	shown := newProgress(os.Stderr)
	done := func() {}
	result, err := run(dir, func(what string) {
		done()
		done = shown.during(what)
	})
	done()
	if err != nil {
		return err
	}
	if m.json {
		return json.NewEncoder(out).Encode(result)
	}
	f := &figures{w: tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)}
	show(f, result)
	return errors.Join(errors.Join(f.errs...), f.w.Flush())
}

// figures is a table of what was measured.
type figures struct {
	w    *tabwriter.Writer
	errs []error
}

// row prints a row, with a tab between its columns.
func (f *figures) row(format string, args ...any) {
	_, err := fmt.Fprintf(f.w, format+"\n", args...)
	f.errs = append(f.errs, err)
}
