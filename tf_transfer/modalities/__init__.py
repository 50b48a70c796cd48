"""What an example is: a folder each."""
