"""Writes ONNX files, for ONNX Runtime and other readers of the format."""

import logging
import warnings
from pathlib import Path

import tensorflow as tf

from tf_transfer.errors import UserError, one_line
from tf_transfer.export.trained import Trained, inference

# Version of the operators; ONNX Runtime reads it since 1.15, of 2023.
OPSET = 18


def write(trained: Trained, path: Path) -> None:
    """Writes a float32 ONNX file by tf2onnx.

    `images` uint8 `[N, S, S, 3]`, raw RGB pixels, to `logits` and `probabilities` float32 `[N, C]`.

    Raises:
        UserError: an operation of the network has no counterpart.
    """
    import onnx
    import tf2onnx

    with inference(trained, tf.uint8, logits=True) as made, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
        try:
            model, _ = tf2onnx.convert.from_function(made.answer, made.answer.input_signature, opset=OPSET)
            replace_erfc(model.graph)
            # The converter leaves an operation without a counterpart in the graph; this check refuses it.
            onnx.checker.check_model(model)
        # For others the converter raises various errors.
        except Exception as e:
            raise UserError(f"ONNX cannot hold this network: {one_line(e, 300)}") from e
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    onnx.save(model, str(path))


def replace_erfc(graph) -> None:
    """Replaces erfc(x), which TensorFlow uses for GELU and ONNX lacks, by 1 - erf(x), in an `onnx.GraphProto`."""
    from onnx import TensorProto, helper

    nodes = []
    for node in graph.node:
        if node.op_type != "Erfc":
            nodes.append(node)
            continue
        one, erf = f"{node.name}/one", f"{node.name}/erf"
        graph.initializer.append(helper.make_tensor(one, TensorProto.FLOAT, (), [1.0]))
        nodes.append(helper.make_node("Erf", node.input, [erf], f"{node.name}/Erf"))
        nodes.append(helper.make_node("Sub", [one, erf], node.output, f"{node.name}/Sub"))
    del graph.node[:]
    graph.node.extend(nodes)
