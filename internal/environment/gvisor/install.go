package gvisor

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// Source is the program and the version that Install builds, and that this
// package is tested with.
const Source = "gvisor.dev/gvisor/runsc@v0.0.0-20260905035102-160fafc42237"

// Install builds runsc with the Go toolchain of this machine and puts it where
// go install puts programs. From where the source comes is for the toolchain's
// settings to say. What the toolchain prints goes to log.
func Install(ctx context.Context, log io.Writer) error {
	cmd := exec.CommandContext(ctx, "go", "install", Source)
	// runsc starts itself anew in an empty root, where there is no C library.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("install %s: %w", Source, err)
	}
	return nil
}

// find returns the path of runsc.
func find(configured string) (string, error) {
	if configured != "" {
		path, err := exec.LookPath(configured)
		if err != nil {
			return "", unavailable("there is no "+configured, installHint)
		}
		return filepath.Abs(path)
	}
	if path, err := exec.LookPath("runsc"); err == nil {
		return filepath.Abs(path)
	}
	for _, dir := range installDirs() {
		if path, err := exec.LookPath(filepath.Join(dir, "runsc")); err == nil {
			return path, nil
		}
	}
	return "", unavailable("there is no runsc", installHint)
}

// installDirs are where go install puts programs; see "go help install".
func installDirs() []string {
	var dirs []string
	if d := os.Getenv("GOBIN"); d != "" {
		dirs = append(dirs, d)
	}
	for _, d := range filepath.SplitList(os.Getenv("GOPATH")) {
		dirs = append(dirs, filepath.Join(d, "bin"))
	}
	if home, err := os.UserHomeDir(); err == nil {
		dirs = append(dirs, filepath.Join(home, "go", "bin"))
	}
	return dirs
}
