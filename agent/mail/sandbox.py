"""The parent's handle on the process that reads hostile mail (`agent.mail.parse_child`).

One child at a time reads one mail at a time. A mail that takes too long, or kills its reader, is read again with less
effort by a new child; what even then cannot be read is `Unreadable`. The service itself never parses a mail.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog
from pydantic import ValidationError

from agent.errors import Unreadable
from agent.mail.child import Child, ChildLost
from agent.mail.protocol import MESSAGE, Effort
from agent.model import ParsedMessage

log = structlog.get_logger()

_MODULE = "agent.mail.parse_child"
_MAILS_A_CHILD = 2000


class Sandbox:
    """Reads mails in a process of their own. ``seconds`` is the time limit of the first attempt at a mail."""

    def __init__(self, *, seconds: float = 20.0, module: str = _MODULE) -> None:
        self._limits = {Effort.FULL: seconds, Effort.NO_HTML: seconds / 2, Effort.HEADER: seconds / 4}
        self._child = Child(module, questions=_MAILS_A_CHILD)

    async def parse(self, raw: bytes, envelope: Mapping[str, Any]) -> ParsedMessage:
        """Read a mail, with less effort where reading all of it fails.

        Raises:
            Unreadable: nothing could be read; the text says why.
            Unavailable: no child can be started now.
        """
        problem = ""
        for effort, seconds in self._limits.items():
            try:
                head, _ = await self._child.ask({"envelope": dict(envelope), "effort": effort}, raw, seconds)
                return _message(head)
            except ChildLost as error:
                problem = str(error)
                log.warning("mail_hard_to_read", effort=effort, size=len(raw), reason=problem)
        raise Unreadable(f"The mail could not be read: {problem}.")

    async def extract_part(self, raw: bytes, part: int) -> tuple[bytes, str, str]:
        """Bytes, file name and media type of one attachment by its number.

        Raises:
            Unreadable: there is no such part, or it could not be read.
            Unavailable: no child can be started now.
        """
        try:
            head, content = await self._child.ask({"part": part}, raw, self._limits[Effort.FULL])
            return content, str(head["name"]), str(head["media_type"])
        except (ChildLost, KeyError) as error:
            raise Unreadable(f"The attachment could not be read: {error}.") from error

    async def stop(self) -> None:
        """End the child."""
        await self._child.stop()


def _message(head: dict[str, Any]) -> ParsedMessage:
    try:
        return MESSAGE.validate_python(head["message"])
    except (KeyError, ValidationError):
        raise ChildLost("its reader answered nonsense") from None
