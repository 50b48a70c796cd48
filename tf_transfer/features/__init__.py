"""Features of a frozen network: computed in one pass, kept on disk, and the input of the solver of the head."""

FEATURES_VERSION = 1
"""Version of the numbers that a pass computes from given examples, network and weights; part of the store's key.

Whoever changes what is computed raises it, or features of before would be read as if they were of now: preprocessing,
resizing, the order or the draws of views, augmentations, folding, batch normalisation. `tests/features` has a golden
test of those. TensorFlow and Keras have keys of their own.
"""
