"""The kinds of training, a file each."""
