"""The classifier of preprocessing, network and head; its weights, folding, batch normalisation and dropout."""
