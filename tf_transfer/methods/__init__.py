"""The methods, one kind of training a file: `--method=NAME(args)` finds them by the name that they register."""

import importlib
import pkgutil

from tf_transfer.registry import parse_spec
from tf_transfer.training.method import METHODS, Method, Setting
from tf_transfer.training.step import check_parts


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
        accumulate: see `step.check_parts`.

    Raises:
        UserError: an unknown name, arguments that it does not take, or a loss that cannot be accumulated.
    """
    _load()
    parsed = parse_spec(spec)
    METHODS.check(parsed, 1)
    check_parts(METHODS.factory(parsed.name), accumulate)


def _load() -> None:
    """Imports the modules of this folder, which register what they hold."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")


__all__ = ["METHODS", "Method", "Setting", "check", "create"]
