"""An exported model: answers batches of examples; where one example is bad, answers each alone."""

import collections
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tf_transfer.errors import UserError, one_line
from tf_transfer.serving.inputs import InputError
from tf_transfer.serving.saved_model import SavedModel, card_entry, card_of, locate, reason
from tf_transfer.serving.signatures import EXAMPLES, FEATURES, FILES, Tensor

Answer = tuple[np.ndarray, ...]


class Model:
    """The calls of a SavedModel that this package exported.

    Args:
        path: see `saved_model.locate`.

    Attributes:
        path: the numbered folder.
        class_names: in the order of the outputs.
        card: the model card; empty where the export wrote none.
        tensor: input of `serving_default`.
        decodes: whether files are decoded separately from the network; see `SavedModel`.

    Raises:
        UserError: nothing of the kind is there.
    """

    def __init__(self, path: str | Path):
        self.path = locate(path)
        self.card = card_of(self.path)
        self._saved = saved = SavedModel(self.path)
        self.decodes = saved.decodes
        self._check(path)
        (self.tensor,) = saved.signatures[EXAMPLES].inputs
        # The first call compiles; it also gives the class names of old exports, which have no asset with them.
        names = saved.call(EXAMPLES, {self.tensor.name: saved.blank()}, ["class_names"])["class_names"][0]
        self.class_names = tuple(name.decode() for name in names)

    def _check(self, path: str | Path) -> None:
        found = self._saved.signatures
        # The card says whether the modality has files.
        wanted = [EXAMPLES] if card_entry(self.card, "modality").get("endings") == [] else [EXAMPLES, FILES]
        missing = [f"it has no signature {name}" for name in wanted if name not in found]
        if not missing and (len(found[EXAMPLES].inputs) != 1 or "class_names" not in found[EXAMPLES].outputs):
            missing = [f"{EXAMPLES} does not answer one input with class_names"]
        if missing:
            raise UserError(
                f"--saved_model={one_line(path)!r} is no SavedModel that this package exported: {missing[0]}"
            )

    def decode(self, contents: Sequence[bytes]) -> list[np.ndarray | InputError]:
        """Decodes files, each to a stored example at the size of the network, or to the reason why it has no answer."""
        return self._saved.decode_all(contents)

    def predict(self, examples: Sequence) -> list[Answer | InputError]:
        """Answers a batch with (logits, probabilities), each `[C]`.

        Args:
            examples: arrays as `inputs.to_array` makes them; bytes of files, where the model has no `decode`; or
                `InputError`s, which are passed on.
        """
        return self._by_kind(examples, EXAMPLES, ("logits", "probabilities"))

    def features(self, examples: Sequence) -> list[np.ndarray]:
        """Answers a batch with embeddings `[D]`; NaN for an `InputError`."""
        width = self.features_width()
        answers = self._by_kind(examples, FEATURES, ("features",))
        return [np.full(width, np.nan, np.float32) if isinstance(a, InputError) else a[0] for a in answers]

    def features_width(self) -> int:
        """Width D of the embeddings.

        Raises:
            UserError: the model has none.
        """
        if FEATURES not in self._saved.signatures:
            raise UserError(f"--saved_model={one_line(self.path)!r} has no signature features; export the model again.")
        return self._saved.output_shape(FEATURES, "features")[1]

    def _by_kind(self, examples: Sequence, signature: str, outputs: Sequence[str]) -> list[Answer | InputError]:
        """Calls a signature once for each shape that occurs in a batch."""
        found, places = list(examples), collections.defaultdict(list)
        for at, example in enumerate(examples):
            if not isinstance(example, InputError):
                places[bytes if isinstance(example, bytes) else np.shape(example)].append(at)
        for kind, rows in places.items():
            files = kind is bytes and not self.decodes
            (tensor,) = self._saved.signatures[FILES].inputs if files else (self.tensor,)
            answers = self._answers(FILES if files else signature, tensor, [examples[at] for at in rows], outputs)
            for at, answer in zip(rows, answers, strict=True):
                found[at] = answer
        return found

    def _answers(
        self, signature: str, tensor: Tensor, examples: list, outputs: Sequence[str]
    ) -> list[Answer | InputError]:
        """Calls a signature; where one example makes the whole batch fail, calls it for each example alone."""
        batch = np.array(examples, object) if tensor.kind == "S" else np.stack(examples)
        try:
            answer = self._saved.call(signature, {tensor.name: batch}, outputs)
            if {len(answer[name]) for name in outputs} != {len(batch)}:
                raise InputError(f"not what the model takes: {list(batch.shape[1:])}")
            return list(zip(*(answer[name] for name in outputs), strict=True))
        except InputError as e:
            if len(examples) == 1:
                return [InputError(reason(e.__cause__)) if signature == FILES else e]
            return [found for one in examples for found in self._answers(signature, tensor, [one], outputs)]
