package bubblewrap

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// forbidden are the system calls that a command has no use for, and that reach
// into the kernel where it was attacked before, or out of the sandbox. Those
// that the machine's architecture does not have are left out.
var forbidden = []string{
	"unshare", "setns",
	"mount", "umount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr",
	"ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "kcmp",
	"add_key", "request_key", "keyctl",
	"bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register",
	"kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module",
	"reboot", "swapon", "swapoff", "acct", "quotactl", "quotactl_fd", "syslog", "nfsservctl", "lookup_dcookie", "vhangup",
	"settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "sethostname", "setdomainname",
	"iopl", "ioperm", "modify_ldt", "vm86", "vm86old",
	"name_to_handle_at", "open_by_handle_at", "fanotify_init",
	"mbind", "set_mempolicy", "migrate_pages", "move_pages",
}

// namespaces are the flags of clone that make one.
const namespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP

// families are the address families that a namespace of the network does not
// confine, or that are of use to an attacker only.
var families = []uint64{
	unix.AF_VSOCK, unix.AF_ALG, unix.AF_PACKET, unix.AF_KEY, unix.AF_RDS, unix.AF_TIPC, unix.AF_BLUETOOTH, unix.AF_CAN, unix.AF_NFC, unix.AF_XDP,
	unix.AF_AX25, unix.AF_IPX, unix.AF_APPLETALK, unix.AF_NETROM, unix.AF_X25, unix.AF_ROSE, unix.AF_LLC, unix.AF_PPPOX, unix.AF_KCM, unix.AF_SMC,
}

// seccompFilter is the program that bwrap loads before the command starts.
var seccompFilter = sync.OnceValues(func() ([]byte, error) {
	info, err := arch.GetInfo("")
	if err != nil {
		return nil, fmt.Errorf("assemble the system call filter: %w", err)
	}
	var names []string
	for _, n := range forbidden {
		if _, ok := info.SyscallNames[n]; ok {
			names = append(names, n)
		}
	}
	conditional := []seccomp.NameWithConditions{
		{Name: "clone", Conditions: seccomp.ArgumentConditions{{Argument: 0, Operation: seccomp.BitsSet, Value: namespaces}}},
		// Typing into the terminal of someone else.
		{Name: "ioctl", Conditions: seccomp.ArgumentConditions{{Argument: 1, Operation: seccomp.Equal, Value: unix.TIOCSTI}}},
		{Name: "ioctl", Conditions: seccomp.ArgumentConditions{{Argument: 1, Operation: seccomp.Equal, Value: unix.TIOCLINUX}}},
	}
	for _, f := range families {
		conditional = append(conditional, seccomp.NameWithConditions{Name: "socket", Conditions: seccomp.ArgumentConditions{{Argument: 0, Operation: seccomp.Equal, Value: f}}})
	}
	deny := seccomp.ActionErrno | seccomp.Action(unix.EPERM)
	policy := seccomp.Policy{
		DefaultAction: seccomp.ActionAllow,
		Syscalls: []seccomp.SyscallGroup{
			{Action: deny, Names: names},
			{Action: deny, NamesWithCondtions: conditional},
			// The flags of clone3 are in memory, which a filter cannot read. To a
			// C library, a kernel without it is one where clone is to be used.
			{Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS), Names: []string{"clone3"}},
		},
	}
	program, err := policy.Assemble()
	if err != nil {
		return nil, fmt.Errorf("assemble the system call filter: %w", err)
	}
	// The policy allows all calls of another architecture (the 32-bit ones of the
	// same machine). They have other numbers, and there is no use for them.
	program = append([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 4, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(info.ID), SkipTrue: 1},
		bpf.RetConstant{Val: uint32(seccomp.ActionKillProcess)},
	}, program...)
	raw, err := bpf.Assemble(program)
	if err != nil {
		return nil, fmt.Errorf("assemble the system call filter: %w", err)
	}
	var b bytes.Buffer
	for _, in := range raw {
		// struct sock_filter of linux/filter.h
		for _, field := range []any{in.Op, in.Jt, in.Jf, in.K} {
			if err := binary.Write(&b, binary.NativeEndian, field); err != nil {
				return nil, fmt.Errorf("assemble the system call filter: %w", err)
			}
		}
	}
	return b.Bytes(), nil
})
