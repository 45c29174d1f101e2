"""QR codes for what a telephone is to take over from a screen (ISO/IEC 18004): the key of a second factor."""

from __future__ import annotations

import io

import segno
from markupsafe import Markup


def qr_code(text: str, label: str) -> Markup:
    """A picture within the page, so that what it says goes to no other address; dark on light whatever the theme is,
    as readers want it, with the margin of four modules that the standard asks for. No styles: the pages' policy."""
    drawn = io.BytesIO()
    code = segno.make(text, error="m", micro=False)
    code.save(
        drawn, kind="svg", xmldecl=False, svgns=False, omitsize=True, border=4, dark="#000", light="#fff", nl=False
    )
    svg = drawn.getvalue().decode().replace("<svg ", '<svg role="img" aria-label="{}" ', 1)
    return Markup(svg).format(label)  # noqa: S704 - drawn by us; the label is escaped
