"""What the blocks of an assessment's page are made of."""

from collections.abc import Mapping, Sequence

from tf_transfer.errors import one_line


def pretrained(record: Mapping) -> bool:
    """Says whether the network of an assessment was pretrained: what is told of transfer means nothing otherwise."""
    return record.get("pretrained", True)


def table(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> dict:
    """Returns a table of the page; an interval in brackets at the end of a cell stands below its value."""
    return {"caption": caption, "header": list(header), "rows": [[one_line(c, 80) for c in row] for row in rows]}


def block(name: str, title: str, lead: str, figures: Sequence[dict] = (), tables: Sequence[dict] = ()) -> dict:
    """Returns a block of the page: its sentence, its figures, and their data as tables."""
    return {"name": name, "title": title, "lead": lead, "figures": list(figures), "tables": list(tables)}
