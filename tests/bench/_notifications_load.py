"""A virtual PBX under load: signed notifications at a steady rate, each timed from when it was due to its answer.

``python -m tests.bench._notifications_load url --rate 200 --seconds 30 [--retry]`` prints one JSON object. With
``--retry`` whatever is not answered 200 is sent again every few seconds, as providers do, until it is.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import gc
import hmac
import json
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import aiohttp

SECRET = "the-secret"
START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
RETRY_S, LONGEST_S = 3.0, 180.0
_SIGNED = ("caller_id", "called_did", "call_start")


def bodies(number: int, first: int) -> list[tuple[bytes, str]]:
    """So many notifications of Zadarma's form with their signatures: three events a call."""
    found = []
    for place in range(number):
        call, event = divmod(first + place, 3)
        fields = {
            "event": ("NOTIFY_START", "NOTIFY_INTERNAL", "NOTIFY_END")[event],
            "call_start": (START + timedelta(seconds=call)).strftime("%Y-%m-%d %H:%M:%S"),
            "pbx_call_id": f"in_{call:040x}",
            "caller_id": f"+7495{call % 10_000_000:07}",
            "called_did": "74950000099",
            "internal": str(100 + call % 50),
            **({"duration": "40", "disposition": "answered", "is_recorded": "0"} if event == 2 else {}),
        }
        text = "".join(fields[name] for name in _SIGNED)
        signature = base64.b64encode(hmac.new(SECRET.encode(), text.encode(), "sha1").hexdigest().encode()).decode()
        found.append((urlencode(fields).encode(), signature))
    return found


class Load:
    """Sends on time, however late the answers are."""

    def __init__(self, url: str, *, retry: bool) -> None:
        self._url, self._retry = url, retry
        self.waits: list[float] = []
        self.statuses: Counter[str] = Counter()
        self.accepted = 0

    async def run(self, rate: int, seconds: int, first: int) -> None:
        """Prepare everything, then send ``rate`` a second."""
        ready = bodies(rate * seconds, first)
        gc.disable()
        connector = aiohttp.TCPConnector(limit=0, force_close=False)
        async with aiohttp.ClientSession(connector=connector) as http:
            began = time.perf_counter() + 0.2
            work = []
            for number, (body, signature) in enumerate(ready):
                due = began + number / rate
                if (pause := due - time.perf_counter()) > 0:
                    await asyncio.sleep(pause)
                work.append(asyncio.create_task(self._deliver(http, body, signature, due)))
            await asyncio.gather(*work)

    async def _deliver(self, http: aiohttp.ClientSession, body: bytes, signature: str, due: float) -> None:
        deadline = due + LONGEST_S
        while not await self._send(http, body, signature, due) and self._retry and time.perf_counter() < deadline:
            await asyncio.sleep(RETRY_S)
            due = time.perf_counter()

    async def _send(self, http: aiohttp.ClientSession, body: bytes, signature: str, due: float) -> bool:
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Signature": signature}
        try:
            async with http.post(self._url, data=body, headers=headers) as answer:
                await answer.read()
                status = str(answer.status)
        except aiohttp.ClientError as error:
            status = type(error).__name__
        self.waits.append((time.perf_counter() - due) * 1000)
        self.statuses[status] += 1
        self.accepted += status == "200"
        return status == "200"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--rate", type=int, required=True)
    parser.add_argument("--seconds", type=int, required=True)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--retry", action="store_true")
    given = parser.parse_args()
    load = Load(given.url, retry=given.retry)
    asyncio.run(load.run(given.rate, given.seconds, given.first))
    print(json.dumps({"waits_ms": load.waits, "statuses": load.statuses, "accepted": load.accepted}))


if __name__ == "__main__":
    main()
