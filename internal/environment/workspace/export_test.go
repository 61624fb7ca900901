package workspace

// AsOnWindows has the workspace keep to the names of Windows, on any system.
func (w *Workspace) AsOnWindows() { w.windows = true }
