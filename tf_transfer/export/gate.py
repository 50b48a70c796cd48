"""The gate: runs an artefact in a fresh process of its own, and compares its answers with what was measured."""

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import softmax

from tf_transfer.errors import UserError, one_line
from tf_transfer.export import runners

# Batch size of the examples, and number of examples that are also given as files.
_BATCH, _FILES = 32, 8


@dataclass(frozen=True)
class Tolerance:
    """How far an artefact may differ from what was measured.

    Attributes:
        probability: largest difference of a probability; None where the arithmetic allows no bound, such as int8.
        agreement: least share of examples with the same class, not counting ties.
    """

    probability: float | None
    agreement: float = 1.0


# Tolerances by the arithmetic of the artefact, set by what MobileNets differed by:
# - `kernels`: another library's kernels, or normalisations that are not folded, sum in another order: by 1.1e-5.
# - `float16`: weights rounded to float16, 8,000 times as coarse as float32: by 0.031.
# - `other`: float32 against bfloat16, which is 65,000 times as coarse: by 0.34, with another class for 3 % of the
#   examples. No bound on a probability is useful then.
TOLERANCE = {
    "float32": Tolerance(1e-5),
    "kernels": Tolerance(1e-4),
    "bfloat16": Tolerance(2e-2),
    "other": Tolerance(None, 0.9),
    "float16": Tolerance(0.1, 0.99),
    # A step of int8 is some hundredths of a layer's range: MobileNets named the same class on 92 to 96 % of real
    # examples, with the same accuracy. Below this bound it is another model.
    "int8": Tolerance(None, 0.9),
}


@dataclass(frozen=True)
class Answers:
    """The answers of an artefact in its own process.

    Attributes:
        arrays: float32 `[N, C]` by the names of `runners.OUTPUTS`.
        facts: `class_names`, and if asked for, `bytes` and `latency`.
    """

    arrays: dict[str, np.ndarray]
    facts: dict

    @property
    def logits(self) -> np.ndarray:
        """The logits; where there are none, the logarithms of the probabilities."""
        if "logits" in self.arrays:
            return self.arrays["logits"]
        return np.log(np.maximum(self.arrays["probabilities"], np.finfo(np.float32).tiny))


def answers(
    artefact: Path,
    examples: np.ndarray,
    latency: Sequence[int] = (),
    sample: Callable[[np.ndarray, int], tuple[str, bytes]] | None = None,
    fit: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> Answers:
    """Runs an artefact over examples in a fresh process that has only TensorFlow, or the artefact's own runtime.

    Args:
        artefact: see `runners.open_artefact`.
        examples: `[N, ...]`, numbers or strings.
        latency: sizes of a batch to time.
        sample: given an example and its number, returns the ending and the content of a file of it, see
            `Modality.probe`; the artefact is then also given files, see `runners.by_bytes`.
        fit: applied to every batch first, such as a resizing that the artefact does not do itself.

    Raises:
        UserError: it cannot be run.
    """
    # Strings are sent as bytes of one length.
    examples = examples.astype(bytes) if examples.dtype == object else examples
    shape = fit(examples[:1]).shape[1:] if len(examples) else examples.shape[1:]
    options = {"shape": shape, "dtype": examples.dtype.str, "batch": _BATCH, "latency": list(latency)}
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryFile() as told:
        output = Path(scratch) / "answers.npz"
        options["files"] = _written(Path(scratch), sample, examples[:_FILES]) if sample else []
        # -P: the folder of the script, inside this package, must not come first on the path.
        command = [sys.executable, "-P", runners.__file__, str(artefact), str(output), json.dumps(options)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=told, stderr=told) as process:
            feeder = threading.Thread(target=_feed, args=(process.stdin, examples, fit))
            feeder.start()
            try:
                process.wait()
            except BaseException:
                # On a signal, kill the process: its answers are not needed any more.
                process.kill()
                raise
            finally:
                # Join the thread before its stream is closed.
                feeder.join()
        if process.returncode:
            told.seek(0)
            lines = told.read().decode(errors="replace").strip().splitlines() or [f"exit code {process.returncode}"]
            raise UserError(f"{one_line(artefact)!r} cannot be run in a process of its own: {one_line(lines[-1], 300)}")
        with np.load(output) as found:
            arrays = {name: found[name] for name in runners.OUTPUTS if name in found}
            return Answers(arrays, json.loads(str(found["facts"])))


def probe(artefact: Path) -> dict:
    """Asks an artefact for its `class_names` and the `shape` of an example, see `runners.Runner`.

    Raises:
        UserError: it cannot be run.
    """
    return answers(artefact, np.zeros((0, 1), np.uint8)).facts


def _written(folder: Path, sample: Callable, examples: np.ndarray) -> list[str]:
    """Writes a file of each example; returns their paths."""
    paths = []
    for number, example in enumerate(examples):
        ending, content = sample(example, number)
        paths.append(folder / f"{number}{ending}")
        paths[-1].write_bytes(content)
    return [str(path) for path in paths]


def _feed(stream, examples: np.ndarray, fit: Callable) -> None:
    try:
        with stream:
            for start in range(0, len(examples), _BATCH):
                stream.write(np.ascontiguousarray(fit(examples[start : start + _BATCH])).tobytes())
    # The process has ended; its exit code will say why.
    except BrokenPipeError:
        pass


def compare(
    found: Answers,
    logits: np.ndarray,
    tolerance: Tolerance,
    temperature: float = 1.0,
    what: str = "The exported model",
    end: str = "nothing was exported",
    many: str = "examples",
) -> dict:
    """Compares the answers of an artefact with the recorded logits of the model that was measured.

    Args:
        found: result of `answers`.
        logits: recorded float32 `[N, C]`.
        tolerance: the allowed differences.
        temperature: divisor of the logits in the artefact.
        what: name of the artefact in messages.
        end: end of the messages, the consequence.
        many: the word for the examples.

    Returns:
        `n`, `max_probability_difference`, `argmax_agreement`, `differing` (number of examples whose class differs, not
        counting ties), `tolerance` and `least_agreement`.

    Raises:
        UserError: the artefact is not the model that was measured.
    """
    got = found.arrays.get("probabilities")
    if got is None:
        got = softmax(found.logits / temperature, axis=1)
    expected = softmax(logits / temperature, axis=1)
    if got.shape != expected.shape:
        raise UserError(f"{what} answers {list(got.shape)}, expected {list(expected.shape)}; {end}.")
    difference = float(np.abs(expected - got).max())
    same = expected.argmax(1) == got.argmax(1)
    # Where two classes are closer than the precision of the arithmetic, either may be predicted: a tie.
    top = np.sort(expected, axis=1)[:, -2:]
    tie = top[:, -1] - top[:, 0] <= 2 * (tolerance.probability or 0)
    result = {
        "n": len(expected),
        "max_probability_difference": difference,
        "argmax_agreement": float(same.mean()),
        "differing": int((~same & ~tie).sum()),
        "tolerance": tolerance.probability,
        "least_agreement": tolerance.agreement,
    }
    close = tolerance.probability is None or difference <= tolerance.probability
    if not (close and np.isfinite(difference) and (same | tie).mean() >= tolerance.agreement):
        allowed = "any" if tolerance.probability is None else f"{tolerance.probability:g}"
        raise UserError(
            f"{what} differs from the evaluated one by up to {difference:.3g} in probability (tolerance {allowed}) and "
            f"names the same class on {same.mean():.2%} of {len(same):,} {many} (at least {tolerance.agreement:.0%}, "
            f"ties aside); {end}."
        )
    return result
