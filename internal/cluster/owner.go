package cluster

import (
	"fmt"
	"os"
	"strings"
)

// Owner names this process so that another on the same machine can tell whether
// it still lives: host name, boot, process id namespace, process id and the time
// when the process started.
func Owner() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("stayd pid %d on %s (%s)", os.Getpid(), host, identity(os.Getpid()))
}

// gone reports whether the owner is a process of this machine that has ended. An
// owner elsewhere, or one that cannot be judged, is not gone: its leases have to
// end.
func gone(owner string) bool {
	var pid int
	var host, id string
	if _, err := fmt.Sscanf(owner, "stayd pid %d on %s (%s", &pid, &host, &id); err != nil {
		return false
	}
	mine, err := os.Hostname()
	if err != nil || host != mine {
		return false
	}
	id = strings.TrimSuffix(id, ")")
	place, _, ok := strings.Cut(id, "/")
	if here, _, _ := strings.Cut(identity(os.Getpid()), "/"); !ok || place == "" || place != here {
		return false
	}
	return identity(pid) != id
}

// identity is "place/start" of a process: the place is the boot and the process
// id namespace, the start is in clock ticks after the boot. Either is empty where
// the system does not tell, and the start of a process that is not there is "0".
func identity(pid int) string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "/"
	}
	ns, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return "/"
	}
	place := strings.TrimSpace(string(boot))[:8] + "-" + strings.Trim(strings.TrimPrefix(ns, "pid:"), "[]")
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return place + "/0"
	}
	// The name, in parentheses, may hold anything; the start is the 22nd field,
	// the 20th after it.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" {
		return place + "/0"
	}
	return place + "/" + fields[19]
}
