"""The methods, one kind of training a file: `--method=NAME(args)` finds them by the name that they register."""

import importlib
import pkgutil

from tf_transfer.errors import UserError
from tf_transfer.registry import parse_spec
from tf_transfer.training.method import METHODS, Method, Setting
from tf_transfer.training.step import NO_PARTS


def create(spec: str, setting: Setting) -> Method:
    """Makes the method that a spec names, on its setting.

    Raises:
        UserError: an unknown name, or arguments that it does not take.
    """
    _load()
    return METHODS.create(spec, setting)


def check(spec: str, accumulate: int = 1) -> None:
    """Refuses a wrong spec, before any data is read.

    Args:
        spec: of `--method`.
        accumulate: parts that a replica's share of a batch is computed in.

    Raises:
        UserError: an unknown name, arguments that it does not take, or a loss that cannot be accumulated.
    """
    _load()
    parsed = parse_spec(spec, "--method")
    METHODS.check(parsed, 1)
    if accumulate > 1 and says(spec, "of_batch"):
        raise UserError(NO_PARTS.format(accumulate))


def says(spec: str, attribute: str) -> bool:
    """Reads what the class of a method says of itself: `of_batch`, `of_source` or `of_features`."""
    _load()
    return getattr(METHODS.factory(parse_spec(spec).name), attribute, False)


def _load() -> None:
    """Imports the modules of this folder, which register what they hold."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")


__all__ = ["METHODS", "Method", "Setting", "check", "create", "says"]
