//go:build !race

package app_test

// racing is set where the race detector makes everything about ten times slower.
const racing = false
