"""Wraps the prose of a Markdown page at one width, as `tests/test_docs.py` expects it of every document."""

import re

WIDTH = 110  # columns
_TOKEN = re.compile(r"(?:`[^`]*`|\S)+")  # a word; a code span is not broken
_ITEM = re.compile(r"- ")
_NOT_PROSE = re.compile(r"\s*(\||#|!\[|<)|\s*$")  # tables, headings, images, comments, blank lines


def wrap(page: str) -> str:
    """The page with each paragraph and each list item filled to `WIDTH` columns. It has no code blocks."""
    lines: list[str] = []
    paragraph: list[str] = []
    for line in [*page.split("\n"), ""]:
        if paragraph and (_NOT_PROSE.match(line) or _ITEM.match(line)):
            lines += _fill(" ".join(paragraph))
            paragraph = []
        if _NOT_PROSE.match(line):
            lines.append(line)
        else:
            paragraph.append(line.strip())
    return "\n".join(lines[:-1])


def _fill(text: str) -> list[str]:
    indent = "  " if _ITEM.match(text) else ""
    first, *others = _TOKEN.findall(text)
    lines = [first]
    for token in others:
        if len(lines[-1]) + 1 + len(token) <= WIDTH:
            lines[-1] += f" {token}"
        else:
            lines.append(indent + token)
    return lines
