"""The predictor: runs an exported SavedModel, while threads read and decode the next examples."""

import collections
import concurrent.futures
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tf_transfer.errors import UserError, one_line
from tf_transfer.serving import conversion, pictures
from tf_transfer.serving.inputs import InputError, rows, to_array, to_content
from tf_transfer.serving.model import Answer, Model

# Number of batches prepared ahead, and number of parts into which threads divide a batch.
_AHEAD, _PARTS = 2, 4
_THREADS = "tf_transfer-decode"


@dataclass(frozen=True)
class Prediction:
    """The answer for one example.

    Attributes:
        file: the given path; empty where the example was not a file.
        label: the class name, empty where the example could not be read.
        probability: of that class, in [0, 1].
        probabilities: by class name: of every class in the model's order, or of the `top` likeliest, likeliest first.
        error: the reason why there is no answer; else empty.
    """

    file: str
    label: str
    probability: float
    probabilities: dict[str, float]
    error: str = ""


class Predictor:
    """A loaded SavedModel; any number of threads may call it. `close`, or the end of a `with`, ends its own threads.

    It has at most four threads of its own. Each may hold one example while decoding it: 1.5 GB for a picture of 100
    million pixels.

    Args:
        path: the numbered folder, the one above it, or the run directory.
        batch_size: examples in one call of the network.
        top: how many classes a prediction names; None for all.

    Attributes:
        path: the numbered folder.
        class_names: in the order of the model's outputs.
        card: the model card, see `report.model_card.build`; empty where the export wrote none.

    Raises:
        UserError: nothing of the kind is there.
    """

    def __init__(self, path: str | Path, batch_size: int = 32, top: int | None = None):
        for name, value in (("batch_size", batch_size), ("top", 1 if top is None else top)):
            if not isinstance(value, int) or value < 1:
                raise UserError(f"{name}={one_line(value)}: expected a whole number from 1 up.")
        self.batch_size, self.top = batch_size, top
        self._model = Model(path)
        self.path, self.class_names, self.card = self._model.path, self._model.class_names, self._model.card
        self._threads = concurrent.futures.ThreadPoolExecutor(min(4, os.cpu_count() or 1), _THREADS)
        self._closed = False

    def predict(self, inputs: object) -> list[Prediction]:
        """Predicts examples of any kind; a bad one gets an `error`, and the others are answered.

        Args:
            inputs: one example, an iterable of examples of any kinds and sizes, or one array of several examples. An
                example is an array as `serving_default` takes it, without the row dimension; an object that converts to
                one (tensors); the bytes of a file; or its path. Pictures: uint8 `[H, W, 3]`, `[H, W, 1]` or `[H, W]`,
                Pillow images, or stacks `[N, H, W, 3]` or `[N, H, W, 1]`.

        Returns:
            One prediction for each example, in order.

        Raises:
            UserError: the whole argument is of another kind, or the predictor is closed.
        """
        return list(self.stream(inputs))

    def stream(self, inputs: Iterable) -> Iterator[Prediction]:
        """As `predict`, for any number of examples: while a batch is answered, the next two are read and decoded.

        Returns:
            An iterator of one prediction an example, in order.
        """
        self._check_open()
        return self._stream(rows(inputs, self._model.tensor))

    def _stream(self, inputs: Iterable) -> Iterator[Prediction]:
        for batch in self._batches(inputs):
            answers = self._model.predict([example for _, example in batch])
            for (file, _), answer in zip(batch, answers, strict=True):
                yield self._prediction(file, answer)

    def predict_files(
        self, files: Iterable[str | Path], progress: Callable[[int, int, str], None] | None = None
    ) -> Iterator[Prediction]:
        """As `stream`, for files; calls `progress` with (done, all, "") after each file."""
        files = [str(f) for f in files]
        for done, prediction in enumerate(self.stream(files), 1):
            if progress:
                progress(done, len(files), "")
            yield prediction

    def features(self, inputs: object) -> np.ndarray:
        """Computes the pooled embedding, float32 `[N, D]`, of examples as `predict` takes them.

        The row of an example that cannot be read is NaN.

        Raises:
            UserError: as `predict`; or the model is of an old version without features.
        """
        self._check_open()
        found = [np.zeros((0, self._model.features_width()), np.float32)]
        for batch in self._batches(rows(inputs, self._model.tensor)):
            found += [row[None] for row in self._model.features([example for _, example in batch])]
        return np.concatenate(found)

    def close(self) -> None:
        """Ends the threads; calls that wait or come later get a UserError."""
        self._closed = True
        self._threads.shutdown(cancel_futures=True)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise UserError("This Predictor is closed; make another.")

    def _batches(self, inputs: Iterable) -> Iterator[list[tuple[str, object]]]:
        """Yields the (file, example) pairs of each batch, for `Model.predict`, while later batches are prepared."""
        inputs, ahead = iter(inputs), collections.deque()
        ended = False
        while True:
            while not ended and len(ahead) <= _AHEAD:
                batch = list(itertools.islice(inputs, self.batch_size))
                ended = len(batch) < self.batch_size
                if batch:
                    ahead.append(self._submit(batch))
            if not ahead:
                return
            yield [row for part in ahead.popleft() for row in self._result(part)]

    def _submit(self, batch: list) -> list[concurrent.futures.Future]:
        size = -(-self.batch_size // _PARTS)
        try:
            return [
                self._threads.submit(self._prepare, batch[start : start + size]) for start in range(0, len(batch), size)
            ]
        except RuntimeError:
            # The threads have been ended meanwhile.
            self._check_open()
            raise

    def _result(self, part: concurrent.futures.Future):
        try:
            return part.result()
        except concurrent.futures.CancelledError:
            self._check_open()
            raise

    def _prepare(self, items: Sequence) -> list[tuple[str, object]]:
        """Reads and decodes examples."""
        files = [str(x) if isinstance(x, (str, os.PathLike)) else "" for x in items]
        found = [self._read(x) for x in items]
        encoded = [at for at, x in enumerate(found) if isinstance(x, bytes)] if self._model.decodes else []
        if encoded:
            decoded = self._model.decode([found[at] for at in encoded])
            for at, example in zip(encoded, decoded, strict=True):
                found[at] = example
        return list(zip(files, found, strict=True))

    def _read(self, item: object) -> np.ndarray | bytes | InputError:
        try:
            content = to_content(item)
            if content is None:
                return to_array(item, self._model.tensor)
            return conversion.converted(content) if pictures.takes(self._model.tensor) else content
        except InputError as e:
            return e

    def _prediction(self, file: str, answer: Answer | InputError) -> Prediction:
        if isinstance(answer, InputError):
            return Prediction(file, "", 0.0, {}, str(answer))
        logits, probabilities = answer
        best, values = int(logits.argmax()), probabilities.tolist()
        if self.top is None:
            named = dict(zip(self.class_names, values, strict=True))
        else:
            # By logits, as probabilities may tie where logits do not. Of equal logits the first wins, as by argmax.
            order = np.argsort(-logits, kind="stable")[: self.top].tolist()
            named = {self.class_names[i]: values[i] for i in order}
        return Prediction(file, self.class_names[best], values[best], named)


def load(path: str | Path, **options) -> Predictor:
    """Loads an exported SavedModel: `Predictor(path, **options)`."""
    return Predictor(path, **options)
