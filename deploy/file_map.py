"""The README's file map, made from each module's own first sentence: `python -m deploy.file_map --write`."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOMS = ("deploy", "stream", "export", "training", "features")
BEGIN, END = "<!-- file map: `make map` writes it -->", "<!-- end of file map -->"


def file_map(root: Path) -> str:
    """A Markdown list of every module, in the order of the ladder, with the first sentence of its docstring."""
    lines = []
    for room in ROOMS:
        purpose = _first_sentence(root / room / "__init__.py")
        lines += [f"**{room}/** {purpose}", ""]
        lines += [f"- `{path.relative_to(root / room)}` {_first_sentence(path)}" for path in _modules(root / room)]
        lines.append("")
    return "\n".join(lines).rstrip()


def written(readme: str, root: Path) -> str:
    """The README's text with its file map made anew. Raises ValueError when it has no place for one."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md has no file map between {BEGIN!r} and {END!r}: put the two lines back")
    return f"{before}{BEGIN}\n\n{file_map(root)}\n\n{END}{after}"


def _modules(room: Path) -> list[Path]:
    return sorted(path for path in room.rglob("*.py") if path.name != "__init__.py")


def _first_sentence(path: Path) -> str:
    """The first line of the docstring, without what a list would repeat."""
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    return docstring.partition("\n")[0].strip()


if __name__ == "__main__":
    here = Path(__file__).parent.parent
    target = here / "README.md"
    text = written(target.read_text(), here)
    if "--write" in sys.argv:
        target.write_text(text)
    elif text != target.read_text():
        sys.exit("README.md's file map is stale: run `make map`")
