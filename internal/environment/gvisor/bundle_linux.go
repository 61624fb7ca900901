package gvisor

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/shell"
	"github.com/stayd/stayd/internal/environment/view"
)

// config is what a program may see and use, in the words of the OCI runtime
// specification, as far as runsc needs them.
type config struct {
	Version  string  `json:"ociVersion"`
	Process  process `json:"process"`
	Root     root    `json:"root"`
	Hostname string  `json:"hostname"`
	Mounts   []mount `json:"mounts"`
	Linux    linux   `json:"linux"`
}

type process struct {
	Terminal        bool     `json:"terminal"`
	User            user     `json:"user"`
	Args            []string `json:"args"`
	Env             []string `json:"env"`
	Cwd             string   `json:"cwd"`
	Capabilities    struct{} `json:"capabilities"`
	Rlimits         []rlimit `json:"rlimits"`
	NoNewPrivileges bool     `json:"noNewPrivileges"`
}

type user struct {
	UID int `json:"uid"`
	GID int `json:"gid"`
}

type rlimit struct {
	Type string `json:"type"`
	Hard uint64 `json:"hard"`
	Soft uint64 `json:"soft"`
}

type root struct {
	Path     string `json:"path"`
	ReadOnly bool   `json:"readonly"`
}

type mount struct {
	Destination string   `json:"destination"`
	Type        string   `json:"type"`
	Source      string   `json:"source"`
	Options     []string `json:"options,omitempty"`
}

type linux struct {
	Namespaces  []namespace `json:"namespaces"`
	UIDMappings []mapping   `json:"uidMappings"`
	GIDMappings []mapping   `json:"gidMappings"`
}

type namespace struct {
	Type string `json:"type"`
}

type mapping struct {
	ContainerID int `json:"containerID"`
	HostID      int `json:"hostID"`
	Size        int `json:"size"`
}

// bundle is the root file system of an environment's programs and what is
// mounted into it. The programs cannot change it.
type bundle struct {
	root   string // folder on this machine
	mounts []mount
}

// newBundle makes the root file system in a folder.
func newBundle(dir, workspace, tmp string, etc []view.File, data []shell.Mount) (*bundle, error) {
	b := &bundle{root: dir}
	for _, d := range []string{"/proc", "/dev", "/etc", "/run", "/usr", "/var", "/tmp", environment.Workspace} {
		if err := b.folder(d); err != nil {
			return nil, err
		}
	}
	for _, f := range etc {
		if err := os.WriteFile(filepath.Join(b.root, f.Path), []byte(f.Content), 0o644); err != nil { //nolint:gosec // all in the environment may read it
			return nil, fmt.Errorf("make the sandbox's files: %w", err)
		}
	}
	b.mount("/usr", "/usr", "ro")
	for _, d := range view.SystemFolders() {
		if err := b.systemFolder(d); err != nil {
			return nil, err
		}
	}
	for _, p := range view.SharedEtc() {
		if err := b.share(p); err != nil {
			return nil, err
		}
	}
	if err := os.Symlink("/tmp", filepath.Join(b.root, "var/tmp")); err != nil {
		return nil, fmt.Errorf("make the sandbox's files: %w", err)
	}
	b.mount("/tmp", tmp, "rw")
	b.mount(environment.Workspace, workspace, "rw")
	for _, m := range data {
		if err := b.folder(m.Path); err != nil {
			return nil, err
		}
		b.mount(m.Path, m.Host, "ro")
	}
	return b, nil
}

func (b *bundle) folder(p string) error {
	if err := os.MkdirAll(filepath.Join(b.root, p), 0o755); err != nil { //nolint:gosec // all in the environment may read it
		return fmt.Errorf("make the sandbox's files: %w", err)
	}
	return nil
}

func (b *bundle) mount(at, source, mode string) {
	b.mounts = append(b.mounts, mount{Destination: at, Type: "bind", Source: source, Options: []string{"bind", mode}})
}

// systemFolder has a folder of the machine's root be the same in the sandbox: a
// link, or mounted, or not there.
func (b *bundle) systemFolder(p string) error {
	if target, err := os.Readlink(p); err == nil {
		if err := os.Symlink(target, filepath.Join(b.root, p)); err != nil {
			return fmt.Errorf("make the sandbox's files: %w", err)
		}
		return nil
	}
	return b.share(p)
}

// share has a folder of this machine be the same in the sandbox, if it is there. A
// file is copied: each mount makes the start of every program longer.
func (b *bundle) share(p string) error {
	source, err := filepath.EvalSymlinks(p)
	if err != nil {
		return nil //nolint:nilerr // not all machines have all of them
	}
	info, err := os.Stat(source)
	if err != nil {
		return fmt.Errorf("make the sandbox's files: %w", err)
	}
	if info.IsDir() {
		b.mount(p, source, "ro")
		return b.folder(p)
	}
	if err := b.folder(filepath.Dir(p)); err != nil {
		return err
	}
	content, err := os.ReadFile(source)
	if err == nil {
		err = os.WriteFile(filepath.Join(b.root, p), content, 0o644) //nolint:gosec // all in the environment may read it
	}
	if err != nil {
		return fmt.Errorf("make the sandbox's files: %w", err)
	}
	return nil
}

// shmSize is how much of its memory a program may have in /dev/shm, in bytes.
const shmSize = 256 << 20

// config returns the configuration of one program.
func (b *bundle) config(argv []string, cwd string, env map[string]string, limits []rlimit) ([]byte, error) {
	if cwd == "" {
		cwd = environment.Workspace
	}
	own := []mapping{{ContainerID: view.UserID, HostID: view.UserID, Size: 1}}
	c := config{
		Version: "1.0.0", Hostname: "sandbox", Root: root{Path: b.root, ReadOnly: true},
		Process: process{
			User: user{UID: view.UserID, GID: view.UserID}, Args: argv, Env: list(env), Cwd: cwd,
			Rlimits: limits, NoNewPrivileges: true,
		},
		Mounts: append([]mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs"},
			{Destination: "/dev/shm", Type: "tmpfs", Source: "tmpfs", Options: []string{"mode=1777", "size=" + strconv.Itoa(shmSize)}},
		}, b.mounts...),
		Linux: linux{
			Namespaces:  []namespace{{"pid"}, {"ipc"}, {"uts"}, {"mount"}, {"user"}},
			UIDMappings: own, GIDMappings: own,
		},
	}
	raw, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("describe the program: %w", err)
	}
	return raw, nil
}

// list is variables as a program gets them.
func list(env map[string]string) []string {
	var vars []string
	for _, k := range slices.Sorted(maps.Keys(env)) {
		vars = append(vars, k+"="+env[k])
	}
	return vars
}
