"""Foreign HTML to HTML that may be shown, and to text that can be read. Pure.

Nothing remote is loaded: no image, no style, no font tells the sender that the mail was opened. Pictures inside the
mail (``data:``) stay.
"""

from __future__ import annotations

import html
import re

import inscriptis
import nh3

_LONGEST = 1_000_000  # characters
_TAGS = nh3.ALLOWED_TAGS - {"map", "area"} | {"font", "u", "big", "label"}
_DROPPED_WITH_CONTENT = {"script", "style", "title", "noscript", "iframe", "object", "embed", "template", "svg", "math"}
_ATTRIBUTES = {
    "*": {"style", "title", "dir", "lang", "align", "valign", "width", "height", "bgcolor"},
    "a": {"href"},
    "img": {"src", "alt"},
    "font": {"color", "face", "size"},
    "table": {"border", "cellpadding", "cellspacing"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan"},
    "ol": {"start", "type"},
}
_STYLES = {
    "background-color", "border", "border-bottom", "border-collapse", "border-left", "border-right", "border-top",
    "color", "font-family", "font-size", "font-style", "font-weight", "line-height", "margin", "margin-bottom",
    "margin-left", "margin-right", "margin-top", "padding", "padding-bottom", "padding-left", "padding-right",
    "padding-top", "text-align", "text-decoration", "vertical-align", "white-space", "width",
}  # fmt: skip
_SCHEMES = {"http", "https", "mailto", "tel", "data"}
_PICTURE = re.compile(r"data:image/(png|gif|jpeg|webp);base64,", re.IGNORECASE)
_STYLE_THAT_LOADS = re.compile(r"url|@|\\|/\*|expression|image|var\(", re.IGNORECASE)
_BLANK_LINES = re.compile(r"\n\s*\n\s*\n+")


def _filter(tag: str, attribute: str, value: str) -> str | None:
    if attribute == "src":
        return value if _PICTURE.match(value) else None
    if attribute == "href":
        return None if value.strip().lower().startswith("data:") else value
    if attribute == "style":
        return None if _STYLE_THAT_LOADS.search(value) else value
    return value


def safe_html(source: str) -> str:
    """HTML that runs nothing, loads nothing and posts nothing; links open in a window of their own."""
    return nh3.clean(
        source[:_LONGEST],
        tags=_TAGS,
        clean_content_tags=_DROPPED_WITH_CONTENT,
        attributes=_ATTRIBUTES,
        attribute_filter=_filter,
        filter_style_properties=_STYLES,
        url_schemes=_SCHEMES,
        url_relative="deny",
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )


def text_to_html(text: str) -> str:
    """Plain text as a paragraph that keeps its lines."""
    return f'<div style="white-space:pre-wrap">{html.escape(text)}</div>'


def html_to_text(safe: str) -> str:
    """The words of safe HTML, laid out in lines."""
    try:
        text = inscriptis.get_text(safe)
    except (RecursionError, ValueError, TypeError, IndexError, AttributeError):
        text = html.unescape(nh3.clean(safe, tags=set()))
    return tidy_text(text)


def strip_tags(source: str) -> str:
    """The words of HTML that is too hard to be read as HTML: everything between angle brackets goes."""
    words = re.sub(r"<[^<>]*>", " ", source[:_LONGEST])
    return tidy_text(html.unescape(re.sub(r"[ \t]{2,}", " ", words)))


def tidy_text(text: str) -> str:
    """Lines without blanks at their ends, at most one empty line in a row, at most a million characters."""
    lines = "\n".join(line.rstrip() for line in text[:_LONGEST].splitlines())
    return _BLANK_LINES.sub("\n\n", lines).strip("\n")
