"""The words for the examples of an exported model, from its model card."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tf_transfer.modalities import base

BEFORE = "image"
"""Modality of older exports, whose card names none."""


@dataclass(frozen=True)
class Words:
    """Words for messages and pages.

    Attributes:
        one, many: the words for an example and for several.
        endings: of the files that hold one, in lower case, with the dot; () where none do.
        convertible: of further files, which predict converts and the model itself does not decode.
        recognises: says of a file's first bytes whether it holds one, see `Modality.recognises`.
        passed_over: says of other files why not, see `Modality.passed_over`.
    """

    one: str
    many: str
    endings: tuple[str, ...]
    convertible: tuple[str, ...] = ()
    recognises: Callable[[bytes], bool] = field(default=lambda head: False, compare=False)
    passed_over: Callable[[bytes], str] = field(default=lambda head: "not by its ending", compare=False)


def of_card(card: Mapping) -> Words:
    """Takes the words from a model card, which may be of another version, or empty."""
    told = card.get("modality")
    if isinstance(told, Mapping) and {"one", "many"} <= set(told) and isinstance(told.get("endings"), list):
        # The modality may be of a package that is not imported here; then endings alone count.
        named = told["endings"] and told.get("name") in base.MODALITIES.names()
        modality = base.find(told["name"]) if named else None
        return Words(str(told["one"]), str(told["many"]), tuple(told["endings"]), **_known(modality))
    modality = base.find(BEFORE)
    return Words(modality.one, modality.many, modality.endings, **_known(modality))


def _known(modality: base.Modality | None) -> dict:
    names = ("convertible", "recognises", "passed_over") if modality else ()
    return {name: getattr(modality, name) for name in names}
