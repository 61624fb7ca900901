// Package examples holds the agents, the script and the data that come with
// Stayd, so that the binary has them where the repository is not at hand.
package examples

import "embed"

// FS has agents/*.yaml, data/weather.csv and the scripts of the demonstration.
//
//go:embed agents/*.yaml data/weather.csv scripts/demo.yaml scripts/fork.yaml
var FS embed.FS
