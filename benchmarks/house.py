"""The shape of a checkout in figures: its folders, its imports against the layers, and who names a phase or a picture.

python -m benchmarks.house [CHECKOUT ...]

One column a checkout, to compare a tree before with one after; without arguments, this one. The layers are those
that the checkout's own `tests/test_imports.py` states.
"""

import ast
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

PACKAGE = "tf_transfer"
PHASE = re.compile(r'"(head|full|scratch|source)"')
PICTURE = re.compile(r"picture|image|pixel", re.IGNORECASE)
IMAGES = "modalities/image"

Layers = Sequence[set[str]]


def modules(checkout: Path) -> dict[str, Path]:
    """Every module of the package: its dotted name, and its file."""
    return {
        ".".join(path.relative_to(checkout).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted((checkout / PACKAGE).rglob("*.py"))
    }


def imports(path: Path, known: Mapping[str, Path]) -> set[str]:
    """What a file imports, wherever in it: `from package import module` counts as the module, where it is `known`.

    Raises:
        ValueError: the file has a relative import, whose target its text alone does not tell.
    """
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{path} line {node.lineno}: a relative import")
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else str(node.module) for name in names}
    return found


def short(module: str) -> str:
    """The name of a module inside the package."""
    return module.removeprefix(f"{PACKAGE}.")


def entry(module: str, layers: Layers) -> str | None:
    """The longest entry of the layers that a module belongs to: `serving.http.app` to `serving.http`; None without."""
    pieces = short(module).split(".")
    names = (".".join(pieces[:length]) for length in range(len(pieces), 0, -1))
    return next((name for name in names if any(name in layer for layer in layers)), None)


def against(checkout: Path, layers: Layers) -> dict[tuple[str, str], str]:
    """The imports that do not point downward: (module, what it imports), each `up` or `sideways`."""
    level = {name: number for number, layer in enumerate(layers) for name in layer}
    known = modules(checkout)
    found = {}
    for module, path in known.items():
        own = entry(module, layers)
        for other in imports(path, known) & set(known):
            theirs = entry(other, layers)
            if own and theirs and own != theirs and level[theirs] <= level[own]:
                found[short(module), short(other)] = "up" if level[theirs] < level[own] else "sideways"
    return found


def layers_of(checkout: Path) -> Layers:
    """The layers that a checkout's test of imports states, from the top down."""
    tree = ast.parse((checkout / "tests/test_imports.py").read_text("utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "LAYERS":
            return ast.literal_eval(node.value)
    raise ValueError(f"{checkout}/tests/test_imports.py states no LAYERS")


def sizes(checkout: Path) -> dict[str, tuple[int, int]]:
    """For each folder of the package, the number of its modules and of their lines, those below it not counted."""
    found: dict[str, tuple[int, int]] = {}
    for path in modules(checkout).values():
        folder = path.parent.relative_to(checkout).as_posix()
        count, lines = found.get(folder, (0, 0))
        found[folder] = (count + 1, lines + len(path.read_text("utf-8").splitlines()))
    return found


def naming(checkout: Path, pattern: re.Pattern, outside: str = "") -> list[str]:
    """The files of the package that a pattern is found in, apart from those in the folder `outside`."""
    package = checkout / PACKAGE
    paths = {path.relative_to(package).as_posix(): path for path in modules(checkout).values()}
    return [
        name
        for name, path in paths.items()
        if not (outside and name.startswith(f"{outside}/")) and pattern.search(path.read_text("utf-8"))
    ]


def figures(checkout: Path) -> dict[str, int]:
    """The figures of a checkout by name, the folders' sizes last."""
    folders = sizes(checkout)
    layers = layers_of(checkout)
    arrows = list(against(checkout, layers).values())
    found = {
        "modules": sum(count for count, _ in folders.values()),
        "lines": sum(lines for _, lines in folders.values()),
        "layers": len(layers),
        "entries of the largest layer": max(map(len, layers)),
        "imports up": arrows.count("up"),
        "imports sideways": arrows.count("sideways"),
        "files that name a phase": len(naming(checkout, PHASE)),
        f"files that name a picture, outside {IMAGES}": len(naming(checkout, PICTURE, IMAGES)),
    }
    for folder, (count, lines) in folders.items():
        found |= {f"modules in {folder}": count, f"lines in {folder}": lines}
    return found


def table(columns: Sequence[Mapping[str, int]], names: Sequence[str]) -> Iterator[str]:
    """Markdown: a row a figure, a column a checkout; a dash where a checkout has no such folder."""
    yield f"| | {' | '.join(names)} |"
    yield f"|---{'|---:' * len(names)}|"
    for row in dict.fromkeys(name for column in columns for name in column):
        yield f"| {row} | {' | '.join(f'{column[row]:,}' if row in column else '-' for column in columns)} |"


def main(arguments: Sequence[str]) -> None:
    """Prints the table of the checkouts named."""
    checkouts = arguments or ["."]
    print("\n".join(table([figures(Path(checkout)) for checkout in checkouts], checkouts)))


if __name__ == "__main__":
    main(sys.argv[1:])
