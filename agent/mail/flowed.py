"""Paragraphs that a mail program broke into soft lines, put together again (format=flowed, RFC 3676). Pure."""

from __future__ import annotations

_SIGNATURE = "-- "


def unflow(text: str, *, delsp: bool) -> str:
    """``text`` with its soft line breaks undone; ``delsp``: the blank before the break goes too (RFC 3676, 4.2).

    Lines of one quote depth flow together; a quote mark of ours stands before each quoted line again.
    """
    lines: list[str] = []
    pieces: list[str] = []
    depth = 0
    for line in text.splitlines():
        content = line.lstrip(">")
        line_depth = len(line) - len(content)
        content = content.removeprefix(" ")
        is_fixed = not content.endswith(" ") or content == _SIGNATURE
        if pieces and (line_depth != depth or content == _SIGNATURE):
            lines.append(_joined(pieces, depth))
            pieces = []
        depth = line_depth
        pieces.append(content[:-1] if delsp and not is_fixed else content)
        if is_fixed:
            lines.append(_joined(pieces, depth))
            pieces = []
    if pieces:
        lines.append(_joined(pieces, depth))
    return "\n".join(lines)


def _joined(pieces: list[str], depth: int) -> str:
    return (">" * depth + " " if depth else "") + "".join(pieces)
