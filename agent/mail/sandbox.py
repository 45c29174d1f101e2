"""The parent's handle on the process that reads hostile mail (`agent.mail.parse_child`).

One child at a time reads one mail after the other. A mail that takes too long, or kills its reader, is read again with
less effort by a new child; what even then cannot be read is `Unreadable`. The service itself never parses a mail.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from pydantic import ValidationError

from agent.errors import Unreadable
from agent.mail.child import Answer, Child, ChildLost
from agent.mail.protocol import MESSAGE, Effort
from agent.model_mail import ParsedMessage

log = structlog.get_logger()

_MODULE = "agent.mail.parse_child"
_MAILS_A_CHILD = 10_000  # a start costs as much as reading 300 mails


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
        (found,) = await self.parse_all([(raw, envelope)])
        if isinstance(found, Unreadable):
            raise found
        return found

    async def parse_all(self, mails: Sequence[tuple[bytes, Mapping[str, Any]]]) -> list[ParsedMessage | Unreadable]:
        """The same of many, each by itself; some megabytes together, since all are held in memory.

        Raises:
            Unavailable: no child can be started now.
        """
        found: dict[int, ParsedMessage | Unreadable] = {}
        hard = list(range(len(mails)))
        for effort, seconds in self._limits.items():
            questions = [({"envelope": dict(mails[at][1]), "effort": effort}, mails[at][0]) for at in hard]
            answers = [_message(one) for one in await self._child.ask_all(questions, seconds)]
            asked, hard = hard, []
            for at, answer in zip(asked, answers, strict=True):
                if isinstance(answer, ChildLost):
                    log.warning("mail_hard_to_read", effort=effort, size=len(mails[at][0]), reason=str(answer))
                    found[at] = Unreadable(f"The mail could not be read: {answer}.")
                    hard.append(at)
                else:
                    found[at] = answer
            if not hard:
                break
        return [found[at] for at in range(len(mails))]

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


def _message(answer: Answer | Unreadable | ChildLost) -> ParsedMessage | Unreadable | ChildLost:
    """What a child says is checked as strictly as what a stranger says: a mail may have taken it over."""
    if isinstance(answer, Exception):
        return answer
    try:
        return MESSAGE.validate_json(answer[1])
    except ValidationError:
        return ChildLost("its reader answered nonsense")
