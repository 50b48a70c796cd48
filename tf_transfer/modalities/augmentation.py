"""A parsed `--augment` of any modality: random operations on the device, vectorised over the batch, stateless.

Every operation is a function of the examples and of the `batches.DRAWS` uniform numbers of each example, so that
augmentation depends on (seed, epoch, example) alone: not on the replica, and not on interruptions of the run.
"""

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from tf_transfer.errors import UserError, one_line
from tf_transfer.registry import Registry, split_list


@dataclass(frozen=True)
class Augmentation:
    """A parsed `--augment`.

    Attributes:
        operations: applied in order to stored examples `[B, ...]`. An operation may have an attribute `mirror`, a
            function of the examples alone, which gives a second fixed view.
        mixer: mixes each example with another, or None.
        mix_alpha: alpha of the Beta law of mixing; 0 without a mixer.
        specs: the text of each operation.
    """

    operations: tuple[Callable, ...] = ()
    mixer: Callable | None = None
    mix_alpha: float = 0.0
    specs: tuple[str, ...] = ()

    def __call__(self, batch: dict, targets_of: Callable[[tf.Tensor], tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Augments a batch of `batches.Batches`.

        Args:
            batch: `inputs`, `uniform`, `label`, and where it mixes `inputs2`, `label2` and `mix`.
            targets_of: labels to the targets of the loss, float32 `[B, C]`; what is mixed has a mean of two.

        Returns:
            The examples, as stored or float32 `[B, ...]`, and their targets.
        """
        inputs, targets = self.view(batch["inputs"], batch["uniform"]), targets_of(batch["label"])
        if self.mixer is None:
            return inputs, targets
        others = self.view(batch["inputs2"], batch["uniform"])
        inputs, share = self.mixer(
            tf.cast(inputs, tf.float32), tf.cast(others, tf.float32), batch["mix"], batch["uniform"]
        )
        return inputs, share[:, None] * targets + (1.0 - share[:, None]) * targets_of(batch["label2"])

    def view(self, inputs: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
        """Augments examples `[B, ...]` by their numbers `[B, DRAWS]`, without mixing."""
        for operation in self.operations:
            inputs = operation(inputs, uniform)
        return inputs

    @property
    def mirror(self) -> Callable | None:
        """Function that gives the second fixed view of stored examples; None where no operation mirrors."""
        return next((operation.mirror for operation in self.operations if hasattr(operation, "mirror")), None)

    @property
    def text(self) -> str:
        """The operations as text for `--augment`, without the mixer."""
        return ",".join(self.specs) or "none"

    def shown(self, views: int) -> str:
        """Returns the part of `--augment` that `views` fixed views show: mirrors first, then all but the mixer."""
        if views > 1 + (self.mirror is not None):
            return self.text
        mirrors = [s for s, operation in zip(self.specs, self.operations, strict=True) if hasattr(operation, "mirror")]
        return ",".join(mirrors if views > 1 else []) or "none"


def parse(text: str, operations: Registry, mixers: Registry) -> Augmentation:
    """Parses `none` or a list such as `flip,crop(0.125),mixup(0.2)`.

    Args:
        text: as `--augment`.
        operations: factories of (inputs, uniform) -> inputs; each notes the columns of `uniform` that it reads.
        mixers: factories of a pair: (inputs, others, mix, uniform) -> (inputs, mix as the share of the first example),
            and the alpha of the mixing law.

    Raises:
        UserError: an unknown operation, or two mixers.
    """
    specs, mixing = [], []
    for part in split_list(text):
        name = part.partition("(")[0].strip()
        if name == "none":
            continue
        if name in mixers:
            mixing.append(part)
        elif name in operations:
            specs.append(part)
        else:
            known = Registry("--augment operation")
            for each in ("none", *operations.names(), *mixers.names()):
                known.register(each)(None)
            known.factory(name)
    if len(mixing) > 1:
        either = " and ".join(sorted(mixers.names(), reverse=True))
        raise UserError(f"--augment={one_line(text)!r}: one of {either}, not both.")
    mixer, alpha = mixers.create(mixing[0]) if mixing else (None, 0.0)
    return Augmentation(tuple(operations.create(spec) for spec in specs), mixer, alpha, tuple(specs))
