"""Where real task data comes from: a folder in our format, or the hub."""
