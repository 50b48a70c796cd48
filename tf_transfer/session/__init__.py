"""What the phases of one command share: data, plans, training, and how it is resumed."""
