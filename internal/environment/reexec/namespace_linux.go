package reexec

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// socket is where the helper finds its end of the socket pair.
const socket = 3

// handOver brings up the loopback device of the namespace that the helper was
// started in, listens there, and hands the namespace and the listener over to the
// runtime that started it.
func handOver() error {
	files, err := namespace()
	if err != nil {
		// The one who waits is told; where nobody does, the caller is.
		if unix.Sendmsg(socket, []byte(err.Error()), nil, nil, unix.MSG_NOSIGNAL) == nil {
			return nil
		}
		return err
	}
	if err := unix.Sendmsg(socket, []byte(Ready), unix.UnixRights(files...), nil, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("hand over the network namespace: %w", err)
	}
	return nil
}

// namespace returns the listener, the network namespace and the user namespace, in
// this order.
func namespace() ([]int, error) {
	if !isSocket(socket) {
		return nil, fmt.Errorf("descriptor %d is not a socket of the runtime: this command is run by the runtime only", socket)
	}
	if err := loopbackUp(); err != nil {
		return nil, err
	}
	listener, err := listen()
	if err != nil {
		return nil, err
	}
	files := []int{listener}
	for _, name := range []string{"/proc/self/ns/net", "/proc/self/ns/user"} {
		fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: name, Err: err}
		}
		files = append(files, fd)
	}
	return files, nil
}

// isSocket reports whether a descriptor may be one that the runtime has an end of.
func isSocket(fd int) bool {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	return err == nil && domain == unix.AF_UNIX
}

// loopbackUp brings the loopback device up; the kernel gives it its addresses.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("bring up the loopback device: %w", err)
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("bring up the loopback device: %w", err)
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("bring up the loopback device: %w", err)
	}
	return nil
}

func listen() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return 0, fmt.Errorf("listen on %s: %w", Address, err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: 3128, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, fmt.Errorf("listen on %s: %w", Address, err)
	}
	if err := unix.Listen(fd, unix.SOMAXCONN); err != nil {
		return 0, fmt.Errorf("listen on %s: %w", Address, err)
	}
	return fd, nil
}
