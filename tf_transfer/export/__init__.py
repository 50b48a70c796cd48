"""Export of a trained model: the formats, and the gate that compares each artefact with what was measured."""
