"""One file a task: its data, program, reward and gold policy."""
