package script

import (
	"regexp"
	"strings"
)

// secrets are the shapes of well-known credentials: a text that must be there
// (so that long texts are passed over quickly), and the whole of it.
var secrets = []struct {
	hint string
	re   *regexp.Regexp
}{
	{"sk-", regexp.MustCompile(`\bsk-[A-Za-z0-9_-]{16,}`)},
	{"AKIA", regexp.MustCompile(`\bAKIA[0-9A-Z]{16}\b`)},
	{"ASIA", regexp.MustCompile(`\bASIA[0-9A-Z]{16}\b`)},
	{"ghp_", regexp.MustCompile(`\bghp_[A-Za-z0-9]{30,}`)},
	{"gho_", regexp.MustCompile(`\bgho_[A-Za-z0-9]{30,}`)},
	{"ghs_", regexp.MustCompile(`\bghs_[A-Za-z0-9]{30,}`)},
	{"github_pat_", regexp.MustCompile(`\bgithub_pat_[A-Za-z0-9_]{30,}`)},
	{"xox", regexp.MustCompile(`\bxox[abprs]-[A-Za-z0-9-]{10,}`)},
	{"AIza", regexp.MustCompile(`\bAIza[0-9A-Za-z_-]{35}`)},
	{"eyJ", regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*`)},
	{"earer ", regexp.MustCompile(`\b[Bb]earer [A-Za-z0-9._~+/=-]{16,}`)},
	{"PRIVATE KEY-----", regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----(?:[^-]|-[^-])*-----END [A-Z ]*PRIVATE KEY-----`)},
}

const redacted = "[secret]"

// redact replaces what looks like a credential. It is applied to what is
// recorded and to what is hashed, so that a replayed run, in which the
// credential is not there any more, has the hashes of the recorded one.
func redact(s string) string {
	for i := range secrets {
		if strings.Contains(s, secrets[i].hint) {
			s = secrets[i].re.ReplaceAllString(s, redacted)
		}
	}
	return s
}
