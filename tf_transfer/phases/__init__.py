"""The phases that `--phase` names: `catalogue.py` has a row for each.

`training.train` runs every phase that trains, by its row. The others have a function in `stories.py`, but for
`predict`, `serve` and `compare`, which read no session: `cli.py` dispatches them.
"""
