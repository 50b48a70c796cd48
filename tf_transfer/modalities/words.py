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
    """

    one: str
    many: str
    endings: tuple[str, ...]
    convertible: tuple[str, ...] = ()
    recognises: Callable[[bytes], bool] = field(default=lambda head: False, compare=False)


def of_card(card: Mapping) -> Words:
    """Takes the words from a model card, which may be of another version, or empty."""
    told = card.get("modality")
    if isinstance(told, Mapping) and {"one", "many"} <= set(told) and isinstance(told.get("endings"), list):
        # The modality may be of a package that is not imported here; then endings alone count.
        named = told["endings"] and told.get("name") in base.MODALITIES.names()
        modality = base.find(told["name"]) if named else None
        known = {"convertible": modality.convertible, "recognises": modality.recognises} if modality else {}
        return Words(str(told["one"]), str(told["many"]), tuple(told["endings"]), **known)
    modality = base.find(BEFORE)
    return Words(modality.one, modality.many, modality.endings, modality.convertible, modality.recognises)
