"""The text of a call as HTML. Pure.

An hour of talk is a thousand lines; a template takes three times as long over them as everything else on the page, so
these few tags are put together here. Whatever comes from outside goes through `escape`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from markupsafe import Markup, escape

from agent.web.formats import Formats
from agent.web.shown import Line
from agent.web.texts import Texts

_SIDES = {None: "both", True: "ours", False: "theirs"}
_STRANGERS = {None: "who_mixed", True: "who_employee", False: "who_client"}


class Wording(Protocol):
    """One utterance as it is to be read: a line of a page, or a stored one."""

    @property
    def id(self) -> int:
        """Of the utterance."""

    @property
    def start(self) -> float:
        """Seconds."""

    @property
    def end(self) -> float:
        """Seconds."""

    @property
    def text(self) -> str:
        """What was said, as corrected."""

    @property
    def machine(self) -> str:
        """What was understood, where it was corrected."""

    @property
    def corrected_by(self) -> str:
        """A login; empty where nothing was."""

    @property
    def corrected_at(self) -> datetime | None:
        """When it was corrected."""

    @property
    def interrupts(self) -> bool:
        """Whether the other one was speaking when it began, and gave way."""


class Wordings:
    """Writes lines of one call in one language."""

    def __init__(self, texts: Texts, formats: Formats, call_id: int) -> None:
        self._texts, self._formats = texts, formats
        self._correct = escape(texts("said_correct"))
        self._cut_in = f'<span class="cut-in">{escape(texts("said_interrupts"))}</span>'
        self._link = f"/interactions/{call_id}?edit="

    def line(self, one: Wording) -> str:
        """One utterance: its words play it, the pencil corrects them."""
        clock, number = self._formats.length(one.start), one.id
        mended = self._mended(one) if one.corrected_by else ""
        cut_in = self._cut_in if one.interrupts else ""
        return (
            f'<div class="bubble" id="u{number}" data-line data-start="{one.start:.2f}" data-end="{one.end:.2f}">'
            f'<button type="button" class="say"><span class="said">{escape(one.text)}</span></button>'
            f'<span class="beside">{cut_in}<span class="at">{clock}</span>'
            f'<a class="mend" href="{self._link}{number}#u{number}"'
            f' hx-get="{self._link}{number}" title="{self._correct}" aria-label="{self._correct} {clock}">✎</a></span>'
            f"{mended}</div>"
        )

    def _mended(self, one: Wording) -> str:
        by = escape(self._texts("said_corrected", by=one.corrected_by))
        at = escape(self._formats.exact(one.corrected_at)) if one.corrected_at else ""
        machine = escape(one.machine)
        return f'<details class="machine"><summary title="{at}">{by}</summary><p>{machine}</p></details>'

    def lines(self, said: Sequence[Line], *, instead: Mapping[int, Markup] | None = None) -> Markup:
        """All of them in a list, the speaker where it changes; ``instead`` has what stands in place of some."""
        parts, before = ["<ol>"], ("", "")
        for one in said:
            side = _SIDES[one.is_employee]
            who = one.who or self._texts(_STRANGERS[one.is_employee])
            speaker = "" if (side, who) == before else f'<span class="speaker">{escape(who)}</span>'
            before = (side, who)
            shown = (instead or {}).get(one.id) or self.line(one)
            parts.append(f'<li class="{side}">{speaker}{shown}</li>')
        parts.append("</ol>")
        return Markup("".join(parts))  # noqa: S704 - everything from outside was escaped above
