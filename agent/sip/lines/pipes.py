"""The two pipes of a line's process: neither is ever waited for, since a call must not wait for the service."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from agent.sip.lines.words import LONGEST_LINE, read_order, write_fact


class Pipes:
    """Orders in, facts out, over two descriptors that do not block. ``is_closed``: the service is gone."""

    def __init__(self, source: int, sink: int) -> None:
        self._source, self._sink = source, sink
        self._read, self._waiting = b"", b""
        self.is_closed = False
        os.set_blocking(source, False)
        os.set_blocking(sink, False)

    def orders(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Everything that was ordered by now."""
        try:
            data = os.read(self._source, LONGEST_LINE)
        except BlockingIOError:
            return
        self.is_closed = not data
        *lines, self._read = (self._read + data).split(b"\n")
        yield from (read_order(line) for line in lines if line)

    def say(self, kind: str, at: float, *, call: str = "", **data: Any) -> None:
        """Tell a fact; it goes out now or as soon as the service reads again."""
        self._waiting += write_fact(kind, at, call=call, **data)
        self.flush()

    def flush(self) -> None:
        """Send what waits, as much as goes."""
        try:
            while self._waiting:
                self._waiting = self._waiting[os.write(self._sink, self._waiting) :]
        except BlockingIOError:
            pass
        except OSError:  # nobody reads any more
            self.is_closed = True
