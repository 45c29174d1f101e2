"""The parent's handle on the process that reads attached files: `agent.mail.attachments.child`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from pydantic import TypeAdapter, ValidationError

from agent.errors import Unreadable
from agent.mail.child import Child, ChildLost

log = structlog.get_logger()

_MODULE = "agent.mail.attachments.child"
_MAILS_A_CHILD = 500
_MOST_LOST = 5  # of one mail: each costs a child and its time limit


@dataclass(frozen=True, slots=True, kw_only=True)
class PartWords:
    """The words of a part; None where this sort of file has none. ``problem`` says why they could not be read.

    ``sha256`` is the digest of the part's bytes, empty where not even these could be had.
    """

    part: int
    sha256: str = ""
    text: str | None
    problem: str = ""


_ANSWERS: TypeAdapter[list[PartWords]] = TypeAdapter(list[PartWords])


class AttachmentReader:
    """Reads the files of one mail at a time. ``seconds`` is the time limit of a file."""

    def __init__(self, *, seconds: float = 30.0, module: str = _MODULE) -> None:
        self._seconds = seconds
        self._child = Child(module, questions=_MAILS_A_CHILD)

    async def read(self, raw: bytes, parts: Sequence[int]) -> list[PartWords]:
        """The words of these parts of a mail. A file that kills the child costs the words of no other, unless many do.

        Raises:
            Unavailable: no child can be started now.
        """
        try:
            return await self._ask(raw, parts)
        except (ChildLost, Unreadable) as error:
            log.warning("attachments_hard_to_read", size=len(raw), files=len(parts), reason=str(error))
        found: list[PartWords] = []
        lost = 0
        for part in parts:
            if lost >= _MOST_LOST:
                found.append(PartWords(part=part, text=None, problem="too many files of this mail could not be read"))
                continue
            one = await self._read_one(raw, part)
            lost += bool(one.problem) and not one.sha256
            found.append(one)
        return found

    async def _read_one(self, raw: bytes, part: int) -> PartWords:
        try:
            return (await self._ask(raw, [part]))[0]
        except Unreadable as error:
            return PartWords(part=part, text=None, problem=error.what)
        except ChildLost as error:
            return PartWords(part=part, text=None, problem=str(error))

    async def _ask(self, raw: bytes, parts: Sequence[int]) -> list[PartWords]:
        head, _ = await self._child.ask({"parts": list(parts)}, raw, self._seconds)
        try:
            found = _ANSWERS.validate_python(head["texts"])
        except (KeyError, ValidationError):
            found = []
        if [one.part for one in found] != list(parts):
            raise ChildLost("its reader answered nonsense")
        return found

    async def stop(self) -> None:
        """End the child."""
        await self._child.stop()
