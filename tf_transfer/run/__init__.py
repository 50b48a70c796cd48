"""The run directory: its files, records, checkpoints and lock. `directory.RunDir` is where to begin."""
