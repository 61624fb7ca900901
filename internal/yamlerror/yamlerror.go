// Package yamlerror puts what a YAML decoder finds wrong with an operator's file
// into words that say where. What each fault means is said by who owns the file.
package yamlerror

import (
	"errors"
	"regexp"

	"go.yaml.in/yaml/v3"
)

var lineOf = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?`)

// Explain returns the faults of the file that a strict decoder found, each with
// its line where that is known. say puts one of them into the words of the file.
func Explain(path string, err error, say func(fault string) string) error {
	faults := []string{err.Error()}
	var types *yaml.TypeError
	if errors.As(err, &types) {
		faults = types.Errors
	}
	var all []error
	for _, fault := range faults {
		where := path
		if m := lineOf.FindStringSubmatch(fault); m[1] != "" {
			where += ":" + m[1]
		}
		all = append(all, errors.New(where+": "+say(lineOf.ReplaceAllString(fault, ""))))
	}
	return errors.Join(all...)
}
