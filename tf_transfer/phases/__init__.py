"""The phases that `--phase` names: `catalogue.py` has a row for each, `stories.py` a function for each."""
