"""Functions that are traced once for each signature of their arguments."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


class Traced:
    """A function of tensors as a graph, traced at the first call and where a later one has other shapes or types.

    `tf.function` traces as often; but it counts by lines of code, and so takes each further model of a process for a
    retracing of the one before, and warns. Concrete functions are exempt from that count; their calls are no slower.

    Args:
        function: of tensors in any structure, values of replicas included.
    """

    def __init__(self, function: Callable):
        self._function = tf.function(function, autograph=False)
        self._traces: dict[tuple, Callable] = {}

    def __call__(self, *arguments: Any) -> Any:
        """Calls the function."""
        key = tuple((x.shape, x.dtype) for x in tf.nest.flatten(arguments, expand_composites=True))
        if key not in self._traces:
            self._traces[key] = self._function.get_concrete_function(*arguments)
        return self._traces[key](*arguments)
