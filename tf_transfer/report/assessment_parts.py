"""Parts that the blocks of an assessment share: tables, blocks, and whether the network was pretrained."""

from collections.abc import Mapping, Sequence

from tf_transfer.errors import one_line


def pretrained(record: Mapping) -> bool:
    """Says whether the network of an assessment was pretrained; if not, the page makes no claim about transfer."""
    return record.get("pretrained", True)


def table(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> dict:
    """Returns a table of the page; an interval in brackets at the end of a cell is shown below its value."""
    return {"caption": caption, "header": list(header), "rows": [[one_line(c, 80) for c in row] for row in rows]}


def block(name: str, title: str, lead: str, figures: Sequence[dict] = (), tables: Sequence[dict] = ()) -> dict:
    """Returns a block of the page: a sentence, figures, and their data as tables."""
    return {"name": name, "title": title, "lead": lead, "figures": list(figures), "tables": list(tables)}
