"""The cases are read, not run."""

collect_ignore = ["cases", "services"]
