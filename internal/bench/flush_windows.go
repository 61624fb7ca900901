package bench

// flush does nothing: Windows has a call for one disk, and an administrator, only.
func flush() {}
