// Package view says what of this machine the programs of a sandbox see: which
// of its files, and which files, variables and user instead of its own. How that
// is brought about is a driver's business.
package view

import (
	"maps"
	"path/filepath"
	"strings"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/netns"
)

// UserID is the user and the group that a program seems to be.
const UserID = 1000

// File is a file that is made up.
type File struct{ Path, Content string }

// Certificates is the file with the authorities that programs have to trust, where
// these are not the machine's.
const Certificates = "/etc/stayd-certificates.pem"

// EtcFiles are files of /etc that name no one on this machine.
func EtcFiles(spec environment.Spec) []File {
	files := []File{
		{"/etc/passwd", "agent:x:1000:1000:agent:/workspace:/bin/sh\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n"},
		{"/etc/group", "agent:x:1000:\nnogroup:x:65534:\n"},
		{"/etc/hosts", "127.0.0.1 localhost sandbox\n::1 localhost\n"},
	}
	if spec.Proxy != nil {
		if c := spec.Proxy.Certificates(); len(c) > 0 {
			files = append(files, File{Certificates, string(c)})
		}
	}
	return files
}

// SharedEtc are the parts of /etc that programs need and that hold no secret, as
// far as this machine has them. All of /etc would: the runtime may run as root,
// who may read everything.
func SharedEtc() []string {
	pythons, _ := filepath.Glob("/etc/python3*") // the pattern is well formed
	return append(pythons,
		"/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime",
		"/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/mime.types", "/etc/protocols", "/etc/services", "/etc/perl", "/etc/magic",
		"/etc/fonts", "/etc/matplotlibrc")
}

// SystemFolders are those beside /usr in which there are programs and libraries.
// On most machines they are links to folders of /usr, and not all have all.
func SystemFolders() []string {
	return []string{"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"}
}

// trusting are the variables by which programs are told whom to trust.
var trusting = []string{
	"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO", "PIP_CERT",
	"CARGO_HTTP_CAINFO", "DENO_CERT", "AWS_CA_BUNDLE",
}

// Variables are those that a program has. The session's own come last, but for
// those of the proxy, around which there is no way.
func Variables(spec environment.Spec) map[string]string {
	env := map[string]string{"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": environment.Workspace, "LANG": "C.UTF-8", "USER": "agent", "TMPDIR": "/tmp"}
	maps.Copy(env, spec.Env)
	if spec.Proxy == nil {
		return env
	}
	for _, k := range []string{"http_proxy", "https_proxy", "all_proxy"} {
		env[k], env[strings.ToUpper(k)] = "http://"+netns.Address, "http://"+netns.Address
	}
	env["no_proxy"] = "localhost,127.0.0.1,::1"
	env["NO_PROXY"] = env["no_proxy"]
	maps.Copy(env, spec.Proxy.Variables())
	if len(spec.Proxy.Certificates()) > 0 {
		for _, k := range trusting {
			env[k] = Certificates
		}
	}
	return env
}
