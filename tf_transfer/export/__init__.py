"""What leaves the package: the artefacts of a trained model, the gate that each must pass, and the model card."""
