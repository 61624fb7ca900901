package main

// canExec says why this system cannot run a session's commands.
func canExec() error {
	return usage("stayd exec runs on Linux and macOS; on Windows, run it in the Windows Subsystem for Linux")
}

// sameFileSystem is not asked where there is no exec.
func sameFileSystem(string, string) error { return nil }
