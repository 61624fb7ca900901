package host

import (
	"context"
	"errors"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/tool"
)

var errWindows = errors.New("programs of an agent run on Linux and macOS only; on Windows, start it in the Windows Subsystem for Linux")

// Open always fails.
func Open(context.Context, Config, string, environment.Spec) (tool.Server, error) {
	return nil, errWindows
}

// Supervise always fails.
func Supervise([]string) (int, error) { return 0, errWindows }
