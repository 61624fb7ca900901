package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// OpenGate makes a socket at whose other end a process of a sandbox waits to be
// let through.
func OpenGate() (own, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a socket pair: %w", err)
	}
	own, theirs = os.NewFile(uintptr(fds[0]), "gate"), os.NewFile(uintptr(fds[1]), "gate")
	if err := errors.Join(unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_PASSCRED, 1), unix.SetNonblock(fds[1], false)); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("set up a socket: %w", err), own.Close(), theirs.Close())
	}
	return own, theirs, nil
}

// WaitAt waits until a process wrote a byte into the other end of the gate, and
// returns which it is, as the kernel says. It is io.EOF that nobody is there any
// more who could.
func WaitAt(gate *os.File) (pid int, err error) {
	raw, err := gate.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("wait for the sandbox: %w", err)
	}
	rights := make([]byte, unix.CmsgSpace(unix.SizeofUcred))
	closed := raw.Read(func(fd uintptr) bool {
		var n, rn int
		n, rn, _, _, err = unix.Recvmsg(int(fd), make([]byte, 1), rights, unix.MSG_CMSG_CLOEXEC)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			return false
		}
		if n == 0 && err == nil || errors.Is(err, unix.ECONNRESET) {
			err = io.EOF
		}
		if err == nil {
			pid, err = credentials(rights[:rn])
		}
		return true
	})
	if closed != nil {
		return 0, fmt.Errorf("wait for the sandbox: %w", closed)
	}
	return pid, err
}

func credentials(rights []byte) (int, error) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil || len(messages) != 1 {
		return 0, fmt.Errorf("learn of the sandbox's process: %d messages: %w", len(messages), err)
	}
	cred, err := unix.ParseUnixCredentials(&messages[0])
	if err != nil || cred.Pid <= 0 {
		return 0, fmt.Errorf("learn of the sandbox's process: %w", err)
	}
	return int(cred.Pid), nil
}
