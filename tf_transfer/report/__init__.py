"""Records to tables, plots, the model card and one self-contained HTML page."""
