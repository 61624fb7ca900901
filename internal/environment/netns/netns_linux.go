package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/stayd/stayd/internal/environment/reexec"
)

// Namespace is a network namespace. Its methods may be called at once.
type Namespace struct {
	enter    []string // the command line that joins it, up to the command
	listener net.Listener

	mu    sync.Mutex
	files []int // what keeps it in being
}

// Open makes a namespace. When it returns, the helper has ended, and the listener
// listens.
func Open(ctx context.Context, cfg Config) (*Namespace, error) {
	if len(cfg.Helper) == 0 {
		return nil, errors.New("make a network namespace: no helper is configured")
	}
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		return nil, fmt.Errorf("make a network namespace: %w; install util-linux", err)
	}
	// Root needs no user namespace, unless it is a root without its rights, as in
	// a container.
	withUser := os.Geteuid() != 0
	files, err := runHelper(ctx, cfg.Helper, withUser)
	if !withUser && errors.Is(err, syscall.EPERM) {
		withUser = true
		files, err = runHelper(ctx, cfg.Helper, withUser)
	}
	if err != nil {
		if withUser {
			err = fmt.Errorf("%w (as this user, it takes user namespaces; see the settings user.max_user_namespaces, kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns of the kernel)", err)
		}
		return nil, fmt.Errorf("make a network namespace: %w", err)
	}
	n := &Namespace{enter: []string{nsenter}, files: files[1:]}
	if withUser {
		n.enter = append(n.enter, "--user="+procPath(files[2]), "--preserve-credentials")
	}
	n.enter = append(n.enter, "--net="+procPath(files[1]), "--")
	f := os.NewFile(uintptr(files[0]), Address)
	defer f.Close() //nolint:errcheck // the listener has its own
	if !cfg.Listen {
		return n, nil
	}
	if n.listener, err = net.FileListener(f); err != nil {
		return nil, errors.Join(fmt.Errorf("listen in the network namespace: %w", err), n.Close())
	}
	return n, nil
}

// procPath is how another process of the same user opens a file of this one.
func procPath(fd int) string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd) }

// Command returns the command line that runs argv in the namespace, with the
// credentials and the open files that the process is started with. Of its
// capabilities, none reach beyond the namespace, unless the runtime is root. The
// command is to be started before Close: afterwards the descriptors in it may be
// those of something else.
func (n *Namespace) Command(argv []string) []string {
	return append(n.enter[:len(n.enter):len(n.enter)], argv...)
}

// Listener accepts the connections that programs in the namespace make to
// Address. It is nil where Config did not ask for it. Close closes it.
func (n *Namespace) Listener() net.Listener { return n.listener }

// Close gives the namespace up. Programs that are in it stay in it, and reach
// nothing.
func (n *Namespace) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var errs []error
	if n.listener != nil && n.files != nil {
		if err := n.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	for _, fd := range n.files {
		errs = append(errs, unix.Close(fd))
	}
	n.files = nil
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close the network namespace: %w", err)
	}
	return nil
}

// runHelper runs the helper in a new namespace and returns the files that it
// hands over.
func runHelper(ctx context.Context, helper []string, withUser bool) ([]int, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make a socket pair: %w", err)
	}
	own, theirs := os.NewFile(uintptr(fds[0]), "helper"), os.NewFile(uintptr(fds[1]), "runtime")
	defer own.Close()    //nolint:errcheck // the connection has its own
	defer theirs.Close() //nolint:errcheck // closed twice where the helper was started
	conn, err := net.FileConn(own)
	if err != nil {
		return nil, fmt.Errorf("use the socket pair: %w", err)
	}
	defer conn.Close() //nolint:errcheck // all was read

	var said strings.Builder
	cmd := exec.CommandContext(ctx, helper[0], helper[1:]...) //nolint:gosec // the runtime's own program
	cmd.Env = []string{}
	cmd.Stderr = &said
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Cloneflags: unix.CLONE_NEWNET}
	if withUser {
		confineUser(cmd.SysProcAttr)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the helper %s: %w", helper[0], err)
	}
	theirs.Close() //nolint:errcheck,gosec // the helper has its own; without this, its end would not be seen
	files, received := receive(conn.(*net.UnixConn))
	if received != nil {
		cmd.Process.Kill() //nolint:errcheck,gosec // it fails where it has ended
	}
	err = cmd.Wait()
	switch {
	case received == nil:
		return files, nil // they are whole, whatever became of the helper afterwards
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(received, errNothing):
		return nil, fmt.Errorf("the helper %s handed nothing over: %s", helper[0], ending(err, said.String()))
	}
	return nil, received
}

// ending says how a process ended, and what it said.
func ending(waited error, said string) string {
	how := "it ended without a word"
	if waited != nil {
		how = waited.Error()
	}
	if said = strings.TrimSpace(said); said != "" {
		how += fmt.Sprintf(": %.500s", said)
	}
	return how
}

// confineUser has the process keep its user and group in a user namespace, with
// no capability but that of setting up the network in it. (As another user in
// there, what it runs would have all of them.)
func confineUser(a *syscall.SysProcAttr) {
	a.Cloneflags |= unix.CLONE_NEWUSER
	a.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
	a.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
	a.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN}
}

var errNothing = errors.New("nothing was handed over")

// receive reads the helper's one message.
func receive(conn *net.UnixConn) ([]int, error) {
	text, rights := make([]byte, 1024), make([]byte, unix.CmsgSpace(3*4))
	n, rn, _, _, err := conn.ReadMsgUnix(text, rights)
	if err != nil || n == 0 {
		return nil, errNothing
	}
	if s := string(text[:n]); s != reexec.Ready {
		return nil, errors.New(s)
	}
	messages, err := unix.ParseSocketControlMessage(rights[:rn])
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("read what the helper hands over: %d messages: %w", len(messages), err)
	}
	files, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(files) != 3 {
		return nil, fmt.Errorf("read what the helper hands over: %d files: %w", len(files), err)
	}
	return files, nil
}
