package workspace

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/tool"
)

// Limits of the file tools, in bytes, and in entries of a list.
const (
	MaxRead     = 1 << 20
	MaxFile     = 10 << 20 // of a file that is written or edited
	MaxList     = 10_000
	defaultList = 1_000
)

// Tools are the file tools. Reading is pure. Writing is idempotent, as whoever
// repeats a call sets the folder back before.
func Tools() []event.ToolSpec {
	spec := func(name string, class event.Class, description, parameters string) event.ToolSpec {
		return event.ToolSpec{
			Name: name, Class: class, ItemType: event.ItemMCPCall,
			Description: description, Parameters: json.RawMessage(parameters),
		}
	}
	return []event.ToolSpec{
		spec("read_file", event.Pure, "Read a text file of the workspace. At most 1 MiB is returned; go on with the offset that is named at the end.", `{
			"type": "object", "additionalProperties": false, "required": ["path"], "properties": {
			"path": {"type": "string", "description": "Path below /workspace"},
			"offset": {"type": "integer", "minimum": 0, "description": "First byte to read; default 0"},
			"limit": {"type": "integer", "minimum": 1, "maximum": 1048576, "description": "Most bytes to read; default 1048576"}}}`),
		spec("write_file", event.Idempotent, "Write a text file of the workspace, and the folders above it. A file that is there is replaced. At most 10 MiB.", `{
			"type": "object", "additionalProperties": false, "required": ["path", "content"], "properties": {
			"path": {"type": "string", "description": "Path below /workspace"},
			"content": {"type": "string"}}}`),
		spec("edit_file", event.Idempotent, "Replace a text in a file of the workspace. The old text must be in the file exactly once, unless replace_all is set.", `{
			"type": "object", "additionalProperties": false, "required": ["path", "old_text", "new_text"], "properties": {
			"path": {"type": "string", "description": "Path below /workspace"},
			"old_text": {"type": "string", "minLength": 1},
			"new_text": {"type": "string"},
			"replace_all": {"type": "boolean", "description": "Replace every occurrence; default false"}}}`),
		spec("list_files", event.Pure, "List a folder of the workspace: one path a line, folders with a slash at the end, files with their size in bytes.", `{
			"type": "object", "additionalProperties": false, "properties": {
			"path": {"type": "string", "description": "Folder below /workspace; default /workspace"},
			"recursive": {"type": "boolean", "description": "List the folders below too; default false"},
			"limit": {"type": "integer", "minimum": 1, "maximum": 10000, "description": "Most entries to list; default 1000"}}}`),
	}
}

// Call performs a call of a file tool. It reports false for any other tool.
func (w *Workspace) Call(ctx context.Context, c tool.Call) (tool.Result, bool, error) {
	var perform func(tool.Call) (tool.Result, error)
	switch c.Name {
	case "read_file":
		perform = w.readFile
	case "write_file":
		perform = w.writeFile
	case "edit_file":
		perform = w.editFile
	case "list_files":
		perform = w.listFiles
	default:
		return tool.Result{}, false, nil
	}
	if err := ctx.Err(); err != nil {
		return tool.Result{}, true, &tool.Error{Message: c.Name + " was not started: " + err.Error(), Err: err}
	}
	res, err := perform(c)
	if err != nil {
		return tool.Result{}, true, &tool.Error{Message: c.Name + " failed: " + err.Error(), Sent: true, Err: err}
	}
	return res, true, nil
}

// Arguments decodes the arguments of a call. The error may be shown to the
// agent.
func Arguments(raw json.RawMessage, into any) error {
	if len(bytes.TrimSpace(raw)) == 0 {
		raw = json.RawMessage("{}")
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("the arguments are not what the tool takes: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("the arguments are more than one JSON object")
	}
	return nil
}

// failure is the result that tells the agent of err, if it is one to be told of;
// else it is the error of the call.
func failure(p string, err error) (tool.Result, error) {
	if msg, ok := explain(p, err); ok {
		return tool.Failure("%s", msg), nil
	}
	return tool.Result{}, err
}
