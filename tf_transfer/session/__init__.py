"""What the phases of one command share: data sets, the plan of a phase, training and resuming it."""
