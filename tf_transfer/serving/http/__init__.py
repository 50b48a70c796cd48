"""An exported model behind HTTP: TensorFlow Serving's REST shape, dynamic batches, limits, and a page to try it on."""
