"""Group commit: messages of many connections that wait at the same time share one sync and one transaction.

While a batch is being stored, the next one gathers. A lonely message waits for nobody.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from agent.errors import Unavailable
from agent.mail.ports import DeliveryStore
from agent.model import CapturedMail

log = structlog.get_logger()

_MOST_MESSAGES = 200  # a batch
_MOST_BYTES = 32 * 1024 * 1024
_GATHER_SECONDS = 0.02  # after a batch its senders are about to bring their next messages: half as many are waited for


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Waiting:
    mail: CapturedMail
    stored: asyncio.Future[None]
    leave: Callable[[], None]


class Batches:
    """Stores messages through the intake, as many at once as there are."""

    def __init__(self, intake: DeliveryStore) -> None:
        self._intake = intake
        self._waiting: deque[_Waiting] = deque()
        self._working: asyncio.Task[None] | None = None
        self._wanted = 0
        self._gathered = asyncio.Event()

    async def store(self, mail: CapturedMail, *, leave: Callable[[], None] = lambda: None) -> None:
        """Returns when the message is on disk and committed. ``leave`` is called once it is held here no more: that
        may be later than its sender went away.

        Raises:
            Unavailable: disk or database are away; nothing was promised.
        """
        one = _Waiting(mail=mail, stored=asyncio.get_running_loop().create_future(), leave=leave)
        self._waiting.append(one)
        if len(self._waiting) >= self._wanted:
            self._gathered.set()
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work(), name="smtp-store")
        await one.stored

    async def finish(self) -> None:
        """Wait for what is being stored."""
        while self._working is not None and not self._working.done():
            await asyncio.wait([self._working])

    async def _work(self) -> None:
        await asyncio.sleep(0)  # whoever has finished receiving in the same turn of the loop comes along
        while batch := self._next():
            await self._store(batch)
            await self._gather(len(batch) // 2)

    async def _gather(self, wanted: int) -> None:
        self._wanted = wanted
        if len(self._waiting) < wanted:
            self._gathered.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_GATHER_SECONDS):
                    await self._gathered.wait()

    def _next(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = 0
        while self._waiting and len(batch) < _MOST_MESSAGES:
            one = self._waiting[0]
            if batch and size + len(one.mail.raw) > _MOST_BYTES:
                break
            self._waiting.popleft()
            if one.stored.cancelled():  # its sender went away before its turn came
                one.leave()
                continue
            batch.append(one)
            size += len(one.mail.raw)
        return batch

    async def _store(self, batch: list[_Waiting]) -> None:
        """All together; where that fails by a fault that one of them may have caused, each by itself."""
        try:
            await self._intake.store_deliveries([one.mail for one in batch])
        except BaseException as error:
            if isinstance(error, Unavailable) or not isinstance(error, Exception) or len(batch) == 1:
                for one in batch:
                    _tell(one, error)
                if not isinstance(error, Exception):
                    raise
                return
            log.warning("smtp_messages_not_stored_together", count=len(batch), reason=repr(error))
            for one in batch:
                await self._store([one])
        else:
            for one in batch:
                _tell(one, None)


def _tell(one: _Waiting, error: BaseException | None) -> None:
    one.leave()
    with suppress(asyncio.InvalidStateError):  # its sender has gone
        if error is None:
            one.stored.set_result(None)
        elif isinstance(error, Exception):
            one.stored.set_exception(error)
        else:
            one.stored.cancel()
