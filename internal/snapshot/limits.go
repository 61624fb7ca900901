package snapshot

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/stayd/stayd/internal/winname"
)

// limits is what the files of a machine can hold of a tree. Unix holds all of it.
// On Windows
//
//   - there are no permissions: what is in the folder has those that it had in the
//     last tree, so that they are there again on another machine, and what is new
//     has 0644, or 0755 as a folder;
//   - times have steps of 100 ns: a file that is not changed keeps the time that
//     it had in the last tree;
//   - a name that Windows does not take, two that it takes for one, and a link with
//     a backslash or a drive in its target are an error of Restore, which says
//     which it is;
//   - links need a right that not every user has: without it, Restore of a tree
//     with links is an error that says what to do;
//   - a deleted file may keep its name until nobody has it open, so that one which
//     is replaced gets another name before;
//   - junctions and other special files are skipped, as pipes and devices are.
type limits struct {
	windows bool
}

func limitsHere() limits { return limits{windows: runtime.GOOS == "windows"} }

// mode is what the permissions of an entry are to be, old being what was known
// of it.
func (l limits) mode(st *status, old *item) uint16 {
	switch {
	case !l.windows:
		return uint16(st.mode & permBits)
	case old != nil && old.kind == st.kind:
		return old.mode
	case st.kind == Dir:
		return 0o755
	default:
		return 0o644
	}
}

// sameMode reports whether nothing is to be done about permissions.
func (l limits) sameMode(st *status, mode uint16) bool {
	return l.windows || st.mode == uint32(mode)
}

// sameTime reports whether a file has the time, as far as it can.
func (l limits) sameTime(st *status, nanos int64) bool {
	if l.windows {
		return st.MTime/100 == nanos/100
	}
	return st.MTime == nanos
}

// check says which of the entries of one folder cannot be made.
func (l limits) check(entries []entry) error {
	if !l.windows {
		return nil
	}
	keys := make(map[string]string, len(entries))
	for i := range entries {
		e := &entries[i]
		if err := winname.Check(e.name); err != nil {
			return err
		}
		if strings.ContainsAny(e.target, `\:`) {
			return fmt.Errorf("the link %q leads to %q, which Windows takes for another place; remove it, or make it lead elsewhere", e.name, e.target)
		}
		key := winname.Key(e.name)
		if other, ok := keys[key]; ok {
			return fmt.Errorf("%q and %q are one name on Windows; rename one of them", other, e.name)
		}
		keys[key] = e.name
	}
	return nil
}
