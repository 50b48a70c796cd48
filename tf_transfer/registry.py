"""Registries of plug-ins: a spec `name(key=value)` on the command line finds a factory by its name and calls it."""

import ast
import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tf_transfer.errors import UserError, one_line

# By annotation of a parameter: the values it takes, in words and as types. A boolean is not a number here.
_ACCEPTED = {
    float: ("a number", (int, float)),
    int: ("a whole number", (int,)),
    bool: ("True or False", (bool,)),
    tuple: ("a tuple or a number", (tuple, list, int, float)),
}


@dataclass(frozen=True)
class Spec:
    """A parsed spec: `coral(weight=0.5)` is `Spec("coral", (), {"weight": 0.5})`.

    Attributes:
        name: of the factory.
        args, kwargs: its arguments.
        texts: of the arguments as they were written, for parameters that take texts: by position, or by name.
    """

    name: str
    args: tuple = ()
    kwargs: dict = field(default_factory=dict)
    texts: dict[int | str, str] = field(default_factory=dict, compare=False)


def parse_spec(text: str, what: str = "") -> Spec:
    """Parses `name` or `name(value, key=value, ...)`.

    Values are Python literals; anything else is read as a bare string, so that
    `folder(path=/data/my pictures)` needs no second pair of quotes.

    Args:
        text: the spec.
        what: begins the message where it is none, such as `--optimizer`.

    Raises:
        UserError: the text is not of this form.
    """
    text = text.strip()
    name, bracket, rest = text.partition("(")
    name = name.strip()
    if not name or (bracket and not rest.endswith(")")) or (not bracket and ")" in text):
        begin = f"{what}: " if what else ""
        raise UserError(f"{begin}Expected name or name(key=value, ...), got {one_line(text)!r}.")
    args, kwargs, texts = [], {}, {}
    for part in split_list(rest[:-1]) if bracket else []:
        key, equals, value = part.partition("=")
        if equals and key.strip().isidentifier():
            if key.strip() in kwargs:
                raise UserError(f"{one_line(text)!r} gives {key.strip()!r} twice.")
            kwargs[key.strip()], texts[key.strip()] = _literal(value), value.strip()
        elif kwargs:
            raise UserError(f"In {one_line(text)!r}, {one_line(part)!r} follows key=value; give it a key too.")
        else:
            texts[len(args)] = part
            args.append(_literal(part))
    return Spec(name, tuple(args), kwargs, texts)


def split_list(text: str) -> list[str]:
    """Splits at the commas that stand outside quotes and brackets; drops empty parts."""
    parts, depth, quote, start = [], 0, "", 0
    for i, c in enumerate(text):
        if quote:
            quote = "" if c == quote else quote
        elif c in "'\"":
            quote = c
        elif c in "([{":
            depth += 1
        elif c in ")]}":
            depth -= 1
        elif c == "," and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    return [p.strip() for p in [*parts, text[start:]] if p.strip()]


def _literal(text: str) -> Any:
    text = text.strip()
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False, "none": None}.get(text.lower(), text)


def unknown_name(kind: str, name: str, known: list[str], meant: str | None = None) -> UserError:
    """Returns the error for an unknown name; it lists all known names, the one that is `meant` or the nearest first."""
    near = [meant] if meant in known else difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    listed = ", ".join(near + [k for k in known if k not in near])
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return UserError(f"Unknown {kind} {one_line(name)!r}.{hint} Known: {listed}.")


def check_range(kind: str, name: str, value: Any, low: float, high: float = float("inf")) -> None:
    """Refuses an argument of a factory that is not a number in [low, high].

    Raises:
        UserError: the value is outside; the message has `kind` (the flag), `name` (the argument), range and value.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        expected = f"lie in [{low}, {high}]" if high < float("inf") else f"be a number of {low:g} or more"
        raise UserError(f"{kind}: {name} must {expected}, got {value!r}.")


def _taken(value: Any, text: str | None, parameter: inspect.Parameter | None) -> Any:
    """Returns the text of an argument for a parameter that takes a text: a folder may be called none, true or 1e3."""
    takes = parameter.annotation if parameter else None
    plain = isinstance(value, str) or text is None or (value is None and takes is not str)
    return value if plain or takes not in (str, str | None) else text


class Registry:
    """Factories of one kind by name, such as `SOURCES = Registry("data set")`."""

    def __init__(self, kind: str):
        self.kind = kind
        self._factories: dict[str, Callable] = {}

    def register(self, name: str) -> Callable[[Callable], Callable]:
        """Decorator that adds a factory under `name`; a name already taken is refused."""

        def add(factory: Callable) -> Callable:
            if name in self._factories:
                raise ValueError(f"The {self.kind} {name!r} is already registered.")
            self._factories[name] = factory
            return factory

        return add

    def names(self) -> list[str]:
        """Returns the registered names, sorted."""
        return sorted(self._factories)

    def __contains__(self, name: str) -> bool:
        return name in self._factories

    def factory(self, name: str) -> Callable:
        """Returns the factory of `name`.

        Raises:
            UserError: the name is not registered; the message lists those that are.
        """
        if name not in self._factories:
            raise unknown_name(self.kind, name, self.names())
        return self._factories[name]

    def create(self, spec: str | Spec, *context: Any, **more: Any) -> Any:
        """Builds what `spec` names: `factory(*context, *spec.args, **spec.kwargs, **more)`.

        Raises:
            UserError: unknown name, or arguments that the factory does not take by their name or type.
        """
        spec = parse_spec(spec, self.kind) if isinstance(spec, str) else spec
        bound = self._bound(spec, context, more)
        return self.factory(spec.name)(*bound.args, **bound.kwargs)

    def check(self, spec: str | Spec, context: int = 0) -> None:
        """Refuses what `create` would refuse, without building anything.

        Args:
            spec: as for `create`.
            context: number of positional arguments that `create` will pass before the arguments of the spec.

        Raises:
            UserError: see `create`.
        """
        self._bound(parse_spec(spec, self.kind) if isinstance(spec, str) else spec, (None,) * context, {})

    def _bound(self, spec: Spec, context: tuple, more: dict[str, Any]) -> inspect.BoundArguments:
        factory = self.factory(spec.name)
        parameters = inspect.signature(factory).parameters
        order = dict(enumerate(list(parameters)[len(context) :]))
        args = [_taken(value, spec.texts.get(i), parameters.get(order.get(i))) for i, value in enumerate(spec.args)]
        named = {k: _taken(value, spec.texts.get(k), parameters.get(k)) for k, value in spec.kwargs.items()}
        try:
            bound = inspect.signature(factory).bind(*context, *args, **named, **more)
        except TypeError as e:
            takes = [p for p in list(parameters)[len(context) :] if p not in more]
            # Python reports the missing argument first; where a key is mistyped, report the key, which is the cause.
            strange = [f"unexpected argument {one_line(key)!r}" for key in spec.kwargs if key not in takes]
            raise UserError(
                f"The {self.kind} {spec.name!r}: {', '.join(strange) or e}. It takes: {', '.join(takes) or 'nothing'}."
            ) from e
        for name, value in list(bound.arguments.items())[len(context) :]:
            words, types = _ACCEPTED.get(parameters[name].annotation, ("", (object,)))
            if not isinstance(value, types) or (isinstance(value, bool) and float in types):
                raise UserError(f"The {self.kind} {spec.name!r}: expected {words} for {name}, got {one_line(value)!r}.")
        return bound
