// Package sandbox is the life of the programs of one environment, however they
// are confined: what they share is made for the first of them, each is started,
// limited, watched, and ended with all that it started, a sandbox waits for the
// next, and when the environment is closed nothing of it is left on the machine.
// What a program may see and do is the business of a Kind, which gives what
// differs. It needs Linux.
package sandbox
