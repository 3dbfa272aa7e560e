"""Pages that people write and programs fill in: everything between two marks is generated, the rest is left alone."""

from __future__ import annotations

_END = "<!-- end -->"


def fill(page: str, part: str, *, command: str) -> str:
    """The page with what `command` writes replaced. Raises ValueError if it has no such marks."""
    mark = f"<!-- begin: written by `{command}` -->"
    before, begin, rest = page.partition(mark)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"the page has no {mark} ... {_END} to write between")
    return f"{before}{mark}\n\n{part}\n{_END}{after}"
