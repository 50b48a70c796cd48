"""What `--phase` names: the catalogue, and one readable story a phase."""
