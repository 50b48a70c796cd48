"""One runnable module a claim: `python -m benchmarks.<name>` prints a table and JSON."""
