//go:build portablefs

package snapshot

import (
	"io/fs"
	"os"
	"syscall"
)

const nonblock = syscall.O_NONBLOCK

func (h *handle) statusOf(_ string, info fs.FileInfo) (status, error) { return statusOf(info), nil }

func statusOfFile(f *os.File) (status, error) {
	info, err := f.Stat()
	if err != nil {
		return status{}, err
	}
	return statusOf(info), nil
}

func statusOf(info fs.FileInfo) status {
	st := info.Sys().(*syscall.Stat_t)
	return status{
		fileStat: fileStat{Ino: st.Ino, Size: st.Size, MTime: st.Mtim.Nano(), CTime: st.Ctim.Nano()},
		kind:     kindOf(info.Mode()), mode: st.Mode & 0o7777, dev: st.Dev, links: st.Nlink, owner: st.Uid,
	}
}

func explainLink(err error) error { return err }

func goneHere(error) bool { return false }
