"""Runs an exported artefact as its receiver would: alone, in a process of its own.

This file imports nothing of this package: the gate starts it as a program in which neither the package nor (except for
Keras' own files) Keras can be imported. Hence it loads SavedModels without `serving.saved_model`:

    python -P runners.py ARTEFACT OUTPUT.npz '{"shape": [32, 32, 3], "dtype": "uint8", "batch": 32}' <raw examples
"""

import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

# Names of outputs, and what kind of answer each is; the first that an artefact has counts.
OUTPUTS = ("logits", "probabilities", "features")
# Keras imports these, where they are installed, for helpers that no artefact calls.
_HELPERS = ("sklearn", "matplotlib")
# Timed calls for each batch size, after one that is not timed.
_CALLS = 20


class Runner:
    """A loaded artefact.

    Attributes:
        shape: of an example, with None for a side of any length; None for any shape.
        class_names: in the order of the outputs; empty where it has none.
    """

    shape: tuple[int | None, ...] | None = None
    class_names: tuple[str, ...] = ()

    def outputs(self, examples: np.ndarray) -> dict[str, np.ndarray]:
        """Maps examples `[N, ...]` to arrays, by the artefact's own names."""
        raise TypeError(f"{type(self).__name__} answers nothing.")

    def __call__(self, examples: np.ndarray) -> dict[str, np.ndarray]:
        """Maps examples `[N, ...]` to float32 `[N, C]` arrays, by names of `OUTPUTS`, at least one."""
        return named(self.outputs(examples))


class SavedModel(Runner):
    """A SavedModel whose `serving_default` takes examples: ours, or any with one input and a `[N, C]` output."""

    def __init__(self, path: Path):
        import tensorflow as tf

        self._tf, self.loaded = tf, tf.saved_model.load(str(path))
        if "serving_default" not in self.loaded.signatures:
            raise ValueError("it has no signature serving_default")
        self._call = self.loaded.signatures["serving_default"]
        specs = self._call.structured_input_signature[1]
        if len(specs) != 1:
            raise ValueError(f"serving_default takes {len(specs)} inputs ({', '.join(sorted(specs))}), expected one")
        (self._name, self._spec), *_ = specs.items()
        if self._spec.shape.rank == 0:
            raise ValueError(f"serving_default takes {self._spec}, expected examples [N, ...]")
        self.shape = None if self._spec.shape.rank is None else tuple(self._spec.shape[1:])
        self.class_names = names_in(Path(path, "assets"))

    def outputs(self, examples: np.ndarray) -> dict[str, np.ndarray]:
        """See `Runner`."""
        found = self._call(**{self._name: self._tf.cast(examples, self._spec.dtype)})
        return {k: v.numpy() for k, v in found.items() if v.dtype.is_floating}


class KerasFile(Runner):
    """A `.keras` file: examples to logits."""

    def __init__(self, path: Path):
        import keras

        # Safe mode refuses files that would run code of their own, such as Lambda layers.
        self._model = keras.models.load_model(path, compile=False, safe_mode=True)
        self.shape = tuple(self._model.input_shape[1:])
        self.class_names = names_in(path.parent)

    def outputs(self, examples: np.ndarray) -> dict[str, np.ndarray]:
        """See `Runner`."""
        return {"output": np.asarray(self._model.predict_on_batch(examples))}


class WeightsFile(Runner):
    """`backbone.weights.h5` and the head beside it, loaded into what `network.json` names: features and logits."""

    def __init__(self, path: Path):
        import keras

        told = json.loads(path.with_name("network.json").read_text("utf-8"))
        self._utils, self._mode = keras.applications.imagenet_utils, told["mode"]
        if "network" in told:
            self._network = keras.models.model_from_json(json.dumps(told["network"]))
        else:
            self._network = getattr(keras.applications, told["constructor"])(**told["arguments"])
        self._network.load_weights(path)
        inputs = keras.Input(self._network.output_shape[1:])
        self._head = keras.Sequential([inputs, keras.layers.Dense(told["classes"])])
        self._head.load_weights(path.with_name("head.weights.h5"))
        self.shape = tuple(self._network.input_shape[1:])
        self.class_names = names_in(path.parent)

    def outputs(self, examples: np.ndarray) -> dict[str, np.ndarray]:
        """See `Runner`."""
        features = np.asarray(self._network.predict_on_batch(self._preprocessed(examples.astype(np.float32))))
        return {"logits": np.asarray(self._head.predict_on_batch(features)), "features": features}

    def _preprocessed(self, inputs: np.ndarray) -> np.ndarray:
        if self._mode == "raw":
            return inputs
        return inputs / 128 - 1 if self._mode == "v2" else self._utils.preprocess_input(inputs, mode=self._mode)


class LiteRt(Runner):
    """A `.tflite` file of one input and one output `[N, C]`, by LiteRT's own interpreter or else TensorFlow's."""

    def __init__(self, path: Path):
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError:
            import tensorflow as tf

            Interpreter = tf.lite.Interpreter  # noqa: N806
        with warnings.catch_warnings():
            # TensorFlow's interpreter warns that it is deprecated.
            warnings.simplefilter("ignore")
            self._interpreter = Interpreter(str(path), num_threads=os.cpu_count())
        (self._input,), (self._output,) = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self.shape = tuple(side if side > 0 else None for side in self._input["shape_signature"].tolist()[1:])
        self.class_names = names_in(path.parent)
        # Named by the signature: quantised probabilities do not add up to exactly 1, by which `named` would know them.
        signatures = list(self._interpreter.get_signature_list().values())
        self._name = signatures[0]["outputs"][0] if len(signatures) == 1 else "output"
        self._allocated: tuple[int, ...] = ()

    def outputs(self, examples: np.ndarray) -> dict[str, np.ndarray]:
        """See `Runner`; scales integer inputs and outputs as the file says."""
        if examples.shape != self._allocated:
            self._allocated = examples.shape
            self._interpreter.resize_tensor_input(self._input["index"], examples.shape, strict=True)
            self._interpreter.allocate_tensors()
        self._interpreter.set_tensor(self._input["index"], _quantised(examples, self._input))
        self._interpreter.invoke()
        return {self._name: _dequantised(self._interpreter.get_tensor(self._output["index"]), self._output)}


def _quantised(examples: np.ndarray, told: dict) -> np.ndarray:
    scale, zero = told["quantization"]
    if not scale or (scale, zero, told["dtype"]) == (1.0, 0, np.uint8):
        return examples.astype(told["dtype"])
    limits = np.iinfo(told["dtype"])
    return np.clip(np.round(examples / scale + zero), limits.min, limits.max).astype(told["dtype"])


def _dequantised(values: np.ndarray, told: dict) -> np.ndarray:
    scale, zero = told["quantization"]
    return np.float32(scale) * (values.astype(np.float32) - zero) if scale else values


class Onnx(Runner):
    """A `.onnx` file with one input, by ONNX Runtime on the CPU."""

    def __init__(self, path: Path):
        import onnxruntime

        self._session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        (self._input,) = self._session.get_inputs()
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._type = {"tensor(uint8)": np.uint8}.get(self._input.type, np.float32)
        self.shape = tuple(side if isinstance(side, int) else None for side in self._input.shape[1:])
        self.class_names = names_in(path.parent)

    def outputs(self, examples: np.ndarray) -> dict[str, np.ndarray]:
        """See `Runner`."""
        found = self._session.run(None, {self._input.name: examples.astype(self._type, copy=False)})
        return dict(zip(self._outputs, found, strict=True))


RUNNERS: dict[str, type[Runner]] = {".keras": KerasFile, ".h5": WeightsFile, ".tflite": LiteRt, ".onnx": Onnx}
# Artefacts that need Keras.
_OF_KERAS = (".keras", ".h5")


def open_artefact(path: Path) -> Runner:
    """Opens an artefact by the ending of its name; a folder is a SavedModel."""
    return RUNNERS.get(path.suffix, SavedModel)(path)


def names_in(folder: Path) -> tuple[str, ...]:
    """Returns the class names of `class_names.txt` in a folder; none where there is no such file."""
    file = folder / "class_names.txt"
    lines = file.read_text("ascii").splitlines() if file.is_file() else ()
    return tuple(line.encode("ascii").decode("unicode_escape") for line in lines)


def named(outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the outputs named in `OUTPUTS`; without any, the only `[N, C]` output, named by its values.

    Raises:
        ValueError: there is no such output, or there are several.
    """
    flat = {k: v.astype(np.float32) for k, v in outputs.items() if v.ndim == 2}
    known = {k: flat[k] for k in OUTPUTS if k in flat}
    if known:
        return known
    if len(flat) != 1:
        raise ValueError(f"expected one output [N, C], got {', '.join(sorted(outputs)) or 'none'}")
    (values,) = flat.values()
    # In steps of 1/256, each probability may be off by half a step.
    off = max(1e-3, values.shape[1] / 512)
    sums_to_one = (values >= 0).all() and (values <= 1).all() and np.allclose(values.sum(1), 1, rtol=0, atol=off)
    return {"probabilities" if sums_to_one else "logits": values}


def frames(stream: BinaryIO, shape: Sequence[int], dtype: str, batch: int) -> Iterator[np.ndarray]:
    """Yields batches from the raw bytes of examples, to the end of the stream."""
    one = int(np.prod(shape)) * np.dtype(dtype).itemsize
    while content := stream.read(batch * one):
        yield np.frombuffer(content, dtype).reshape(-1, *shape)


def latency(run: Callable, examples: np.ndarray, batches: Sequence[int]) -> dict[str, dict[str, float]]:
    """Times batches of each size, made of repeated examples: median, and 10 and 90 % quantiles."""
    found = {}
    for batch in batches:
        given = np.resize(examples, (batch, *examples.shape[1:]))
        run(given)
        taken = []
        for _ in range(_CALLS):
            begun = time.perf_counter()
            run(given)
            taken.append(time.perf_counter() - begun)
        found[str(batch)] = dict(
            zip(("low", "value", "high"), np.quantile(taken, (0.1, 0.5, 0.9)).tolist(), strict=True)
        )
    return found


def by_bytes(runner: SavedModel, examples: np.ndarray, files: Sequence[bytes]) -> dict[str, float | bool]:
    """Gives `serve_bytes` files of some examples and a bad file between them; compares with the examples."""
    import tensorflow as tf

    middle = len(files) // 2
    contents = tf.constant([*files[:middle], b"junk", *files[middle:]])
    call = runner.loaded.signatures["serve_bytes"]
    (name,) = call.structured_input_signature[1]
    answer = {k: v.numpy() for k, v in call(**{name: contents}).items()}
    good = answer["status"] == b"ok"
    expected = runner.outputs(examples)["probabilities"]
    alone = good.sum() == len(files) and not good[middle] and not answer["probabilities"][~good].any()
    difference = np.abs(answer["probabilities"][good] - expected).max() if alone else np.inf
    return {"n": len(files), "rows_independent": bool(alone), "max_probability_difference": float(difference)}


def main(artefact: str, output: str, options: str) -> None:
    """Answers the examples on standard input; writes answers and measurements to a `.npz` file."""
    asked = json.loads(options)
    runner = open_artefact(Path(artefact))
    batches, first = [], None
    for examples in frames(sys.stdin.buffer, asked["shape"], asked["dtype"], asked["batch"]):
        first = examples if first is None else first
        batches.append({name: values for name, values in runner.outputs(examples).items() if values.ndim == 2})
    facts: dict = {"class_names": list(runner.class_names), "shape": runner.shape}
    files = [Path(file).read_bytes() for file in asked.get("files", ())]
    if files and first is not None:
        facts["bytes"] = by_bytes(runner, first[: len(files)], files)
    if asked.get("latency") and first is not None:
        facts["latency"] = latency(runner, first, asked["latency"])
    # Outputs are named by the values of all batches together.
    arrays = named({name: np.concatenate([b[name] for b in batches]) for name in batches[0]}) if batches else {}
    np.savez(output, facts=json.dumps(facts), **arrays)


class _Hidden:
    """Import hook that hides packages which the artefact must not need."""

    def __init__(self, finder, hidden: Sequence[str]):
        self._finder, self._hidden = finder, hidden

    def find_spec(self, name, path=None, target=None):
        """See `importlib.abc.MetaPathFinder`."""
        return None if name.partition(".")[0] in self._hidden else self._finder.find_spec(name, path, target)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    hidden = ["tf_transfer", *_HELPERS]
    if Path(sys.argv[1]).suffix not in _OF_KERAS:
        hidden += ["keras", "tf_keras"]
    sys.meta_path[:] = [_Hidden(finder, hidden) for finder in sys.meta_path]
    try:
        main(*sys.argv[1:])
    # Libraries raise any error on a damaged or foreign artefact; the gate reports it in a line.
    except Exception as e:
        sys.exit(f"{type(e).__name__}: {e}")
