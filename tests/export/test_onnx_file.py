"""ONNX files of operations that the converter leaves to us."""

import logging

import numpy as np
import onnxruntime
import tensorflow as tf
import tf2onnx

from tf_transfer.export import onnx_file


def test_gelu_is_computed_by_erf():
    def gelu(x):
        return tf.nn.gelu(x, approximate=False)

    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    model, _ = tf2onnx.convert.from_function(
        tf.function(gelu), [tf.TensorSpec((None,), tf.float32)], opset=onnx_file.OPSET
    )
    assert "Erfc" in {node.op_type for node in model.graph.node}
    onnx_file.replace_erfc(model.graph)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.linspace(-9, 9, 1001, dtype=np.float32)
    (found,) = session.run(None, {session.get_inputs()[0].name: x})
    np.testing.assert_allclose(found, gelu(x), rtol=0, atol=1e-6)
