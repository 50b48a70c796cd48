"""Writes LiteRT (TensorFlow Lite) files for phones and boards: float16 weights, or 8-bit integers throughout."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from tf_transfer.errors import UserError, one_line
from tf_transfer.export import runners
from tf_transfer.export.trained import Inference, Trained, inference
from tf_transfer.machine.quiet import quiet, without_warnings


def write_float16(trained: Trained, path: Path) -> None:
    """Writes a file with float16 weights that computes in float32, or in float16 where the device can.

    Signature `serving_default`: `images` float32 `[N, S, S, 3]`, RGB in [0, 255], to `probabilities` float32 `[N, C]`.
    """
    with inference(trained, tf.float32) as made:
        converter = _converter(made)
        converter.target_spec.supported_types = [tf.float16]
        _convert(converter, path)


def write_int8(trained: Trained, path: Path, correct: bool = True) -> None:
    """Writes a file that computes in 8-bit integers throughout, its weights with a scale for each channel.

    Post-training quantisation (Jacob et al. 2018, arXiv:1712.05877; Krishnamoorthi 2018, arXiv:1806.08342): training
    examples set the ranges of the activations. On the same examples the head's bias is corrected by the mean error that
    rounding causes for each class (bias correction, Nagel et al. 2019, arXiv:1906.04721).

    Signature `serving_default`: `images` uint8 `[N, S, S, 3]`, raw RGB pixels, to `probabilities` float32 `[N, C]` in
    steps of 1/256.

    Args:
        trained: the model.
        path: of the file.
        correct: correct the head's bias; without it the file shows what rounding alone costs.
    """
    examples = _spanning(trained.examples())
    _quantise(trained, path, examples)
    if not correct:
        return
    with quiet(), without_warnings("tensorflow"):
        rounded = _in_batches(runners.LiteRt(path), examples)
    with inference(trained, tf.uint8) as made:
        exact = _in_batches(made.answer, examples)
    _quantise(trained, path, examples, (np.log(exact) - np.log(rounded)).mean(0))


def _quantise(trained: Trained, path: Path, examples: np.ndarray, shift: np.ndarray | float = 0.0) -> None:
    with inference(trained, tf.float32, shift=shift) as made:
        converter = _converter(made)
        converter.representative_dataset = lambda: ([example[None].astype(np.float32)] for example in examples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8
        _convert(converter, path)


def _in_batches(model: Callable, examples: np.ndarray) -> np.ndarray:
    """Returns probabilities `[N, C]`, at least half a step of the integers."""
    said = [np.asarray(model(examples[i : i + 32])["probabilities"]) for i in range(0, len(examples), 32)]
    return np.maximum(np.concatenate(said), 1 / 512)


def _spanning(examples: np.ndarray) -> np.ndarray:
    """Sets one pixel of the first example to black and one to white, so that the scale of the input becomes 1."""
    examples = examples.copy()
    examples[0, 0, 0], examples[0, -1, -1] = 0, 255
    return examples


def _converter(made: Inference) -> tf.lite.TFLiteConverter:
    converter = tf.lite.TFLiteConverter.from_concrete_functions([made.answer.get_concrete_function()], made)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return converter


def _convert(converter: tf.lite.TFLiteConverter, path: Path) -> None:
    try:
        with quiet(), without_warnings("tensorflow"):
            content = converter.convert()
    # The converter raises various errors for an operation without a counterpart.
    except Exception as e:
        raise UserError(f"LiteRT cannot hold this network: {one_line(e, 300)}") from e
    path.write_bytes(content)
