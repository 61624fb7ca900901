package agents

import (
	"errors"
	"io/fs"
	"net/http"

	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/snapshot"
)

// Codes of errors about paths.
const (
	codeNoFile   = "file_not_found"
	codeConflict = "path_conflict"
)

// treeError says what is wrong with a path below the workspace.
func treeError(err error, path, param string) error {
	shown := shownPath(path)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return &httpapi.Error{Status: http.StatusNotFound, Code: codeNoFile, Param: param, Message: "There is no file '" + shown + "'."}
	case errors.Is(err, fs.ErrInvalid), errors.Is(err, snapshot.ErrTooLarge):
		return httpapi.Invalid(param, "'"+shown+"' cannot be the path of a file: a name in it is too long, or there are too many.")
	case errors.Is(err, fs.ErrExist):
		return conflict(param, "'"+shown+"' is in the way of something else: a folder, or a path below a file.")
	}
	return err
}

func conflict(param, message string) error {
	return &httpapi.Error{Status: http.StatusConflict, Code: codeConflict, Param: param, Message: message}
}
