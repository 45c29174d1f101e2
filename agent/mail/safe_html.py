"""Foreign HTML to HTML that may be shown, and to text that can be read. Pure.

Nothing remote is loaded: no image, no style, no font tells the sender that the mail was opened. Pictures inside the
mail (``data:``) stay, and so do names of its parts (``cid:``, RFC 2392), which the page resolves (`resolve_parts`).
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Callable

import nh3

from agent.mail.layout import QUOTE_BEGINS

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
_SCHEMES = {"http", "https", "mailto", "tel", "data", "cid"}
_PICTURE = re.compile(r"data:image/(png|gif|jpeg|webp);base64,", re.IGNORECASE)
_STYLE_THAT_LOADS = re.compile(r"url|@|\\|/\*|expression|image|var\(", re.IGNORECASE)
_MOST_OPEN = 5000
_ANY_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]{0,20})")
_CLOSE_THEMSELVES = frozenset({
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr",
    "p", "li", "dd", "dt", "tr", "td", "th", "thead", "tbody", "tfoot", "colgroup", "option", "optgroup", "rt", "rp",
})  # fmt: skip
"""Elements without content, and those that end where the next begins."""

_PART = re.compile(r'\ssrc="cid:([^"]{0,1000})"', re.IGNORECASE)
_QUOTE_MARKUP = re.compile(
    r"<(?:"
    r"div[^>]{0,100}?\sid=[\"']?(?:x_){0,4}(?:appendonsend|divRplyFwdMsg|stopSpelling|mail-editor-reference-message-container)"
    r"|hr[^>]{0,100}?\sid=[\"']?(?:x_){0,4}stopSpelling"
    r"|div[^>]{0,100}?\sclass=[\"']?(?:yahoo_quoted|js-helper js-readmsg-msg|zmail_extra|protonmail_quote)"
    r"|div\s{1,4}style=[\"']border:none;\s{0,4}border-top:\s{0,4}solid #(?:E1E1E1|B5C4DF|e1e1e1|b5c4df)"
    r")[^>]{0,500}>"
)


def _filter(tag: str, attribute: str, value: str) -> str | None:
    if attribute == "src":
        return value if value[:4].lower() == "cid:" or _PICTURE.match(value) else None
    if attribute == "href":
        return None if value.strip().lower().startswith(("data:", "cid:")) else value
    if attribute == "style":
        return None if _STYLE_THAT_LOADS.search(value) else value
    return value


_CLEANER = nh3.Cleaner(  # made once: to make it takes longer than to clean a mail
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


def safe_html(source: str) -> str:
    """HTML that runs nothing, loads nothing and posts nothing; links open in a window of their own."""
    return _CLEANER.clean(source[:_LONGEST])


def is_too_deep(source: str) -> bool:
    """Whether more elements stay open than a page has: the time to clean them grows with the square of their number."""
    if source.count("<") <= _MOST_OPEN:
        return False
    still_open: Counter[str] = Counter()
    total = 0
    for tag in _ANY_TAG.finditer(source[:_LONGEST]):
        name = tag[2].lower()
        if name in _CLOSE_THEMSELVES:
            continue
        if not tag[1]:
            still_open[name] += 1
            total += 1
        elif still_open[name]:
            still_open[name] -= 1
            total -= 1
        if total > _MOST_OPEN:
            return True
    return False


def text_to_html(text: str) -> str:
    """Plain text as a paragraph that keeps its lines."""
    return f'<div style="white-space:pre-wrap">{html.escape(text)}</div>'


def mark_quotes(source: str) -> str:
    """HTML with a mark where what Outlook, Yahoo, Mail.ru and others quote begins: classes do not survive.

    Quotes in a blockquote need no mark.
    """
    return _QUOTE_MARKUP.sub(lambda found: QUOTE_BEGINS + found[0], unmarked(source)[:_LONGEST])


def unmarked(source: str) -> str:
    """HTML without such marks."""
    return source.replace(QUOTE_BEGINS, "")


def resolve_parts(safe: str, picture: Callable[[str], str | None]) -> str:
    """Safe HTML whose pictures that are parts of the mail have the address ``picture`` gives for their Content-ID.

    It must give ``data:`` or an address of ours; where it gives None the picture has none.
    """

    def address(found: re.Match[str]) -> str:
        given = picture(html.unescape(found[1]))
        return f' src="{html.escape(given)}"' if given is not None else ""

    return _PART.sub(address, safe)


def list_parts(safe: str) -> list[str]:
    """The Content-IDs of the pictures that safe HTML shows, each once."""
    return list(dict.fromkeys(html.unescape(found) for found in _PART.findall(safe)))


def strip_tags(source: str) -> str:
    """The words of HTML that is too hard to be read as HTML: everything between angle brackets goes."""
    words = re.sub(r"<[^<>]*>", " ", source[:_LONGEST])
    return html.unescape(re.sub(r"[ \t]{2,}", " ", words))
