"""Data: sources of examples, their splits, and the batches and streams that training draws; no picture in it."""
