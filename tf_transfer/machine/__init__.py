"""The machine: devices, `tf.distribute` strategy, precision, XLA, workers, signals, the stopwatch, quiet libraries."""
