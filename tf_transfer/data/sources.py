"""Opens a data set by its spec: the registry of data sources, and the meaning of a bare path or name."""

import inspect
import os
from typing import Any

from tf_transfer.data.csv_list import open_csv
from tf_transfer.data.examples import Examples
from tf_transfer.data.folder import open_folder
from tf_transfer.data.splits import Source
from tf_transfer.data.tfds_source import open_tfds
from tf_transfer.errors import UserError, one_line
from tf_transfer.registry import Registry, Spec, parse_spec

# The modules above import TensorFlow inside their functions, so that wrong names are refused at once.
SOURCES = Registry("data set")
SOURCES.register("folder")(open_folder)
SOURCES.register("csv")(open_csv)
SOURCES.register("tfds")(open_tfds)

# Parameters that the run fills, not the spec.
_OF_THE_RUN = ("modality", "carve", "progress")


def open_source(
    spec: str, modality: Examples, data_dir: str | None = None, max_unreadable: int = 0, **more: Any
) -> Source:
    """Opens a data set.

    Args:
        spec: `name(key=value, ...)` or `name` of a registered source; a folder; a path that ends in
            `.csv` or `.tsv`; or a TFDS name such as `cifar10` or `imagenet_resized/32x32`.
        modality: of the network; files are read by it.
        data_dir: where TFDS keeps its data sets.
        max_unreadable: how many files may be skipped because they cannot be decoded.
        **more: other values for the parameters of these names, as far as the source has them: `carve` and `progress`
            of `file_source.FileSource`.

    Raises:
        UserError: there is no such data set, it is of another modality than the network, or it cannot be used.
    """
    parsed = _meaning(spec.strip())
    if ours := [name for name in _OF_THE_RUN if name in parsed.kwargs]:
        raise UserError(f"The data set {parsed.name!r}: unexpected argument {ours[0]!r}, which is no user's to give.")
    offered = {"data_dir": data_dir, "max_unreadable": max_unreadable, "known": tuple(SOURCES.names())}
    offered |= {"modality": modality, **more}
    # A factory gets the values for which it has parameters of that name; arguments of the spec win.
    takes = inspect.signature(SOURCES.factory(parsed.name)).parameters
    given = {name: value for name, value in offered.items() if name in takes and name not in parsed.kwargs}
    source = SOURCES.create(parsed, **given)
    if source.modality != modality.name:
        raise UserError(
            f"--dataset={one_line(spec)} holds examples of the modality {source.modality}, and --backbone takes "
            f"{modality.many} ({modality.name}): choose a data set or a network of the other's modality."
        )
    return source


def _meaning(text: str) -> Spec:
    if text in SOURCES:
        return Spec(text)
    path = os.path.expanduser(text)
    if os.path.isdir(path):
        return Spec("folder", (), {"path": text})
    if text.lower().endswith((".csv", ".tsv")):
        return Spec("csv", (), {"path": text})
    if os.path.isfile(path) and not text.isidentifier():
        raise UserError(f"--dataset={one_line(text)} is a file; expected a folder of class folders or a .csv.")
    if text.startswith(("/", "./", "../", "~")) or text.endswith("/"):
        raise UserError(f"--dataset={one_line(text)}: there is no such folder.")
    if "(" in text or not text:
        return parse_spec(text, "--dataset")
    return Spec("tfds", (), {"name": text})
