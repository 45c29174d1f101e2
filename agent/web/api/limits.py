"""What every call of the API goes through: a limit of requests a minute for each token or account, and errors in one
form."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from aiohttp import web

from agent.web.api.answers import owner_of
from agent.web.problems import Refused, is_api, problem
from agent.web.services import LOGIN, services

_MOST_BUCKETS = 10_000
_BURST_SECONDS = 10.0  # what may come at once is what these seconds allow

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Buckets:
    """A token bucket each: so many requests a minute, and a few seconds' worth of them at once. Pure but for the clock
    it is given."""

    def __init__(self, a_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = a_minute / 60
        self._size = max(1.0, self._rate * _BURST_SECONDS)
        self._clock = clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, owner: str) -> float:
        """0 where the request may go on, else after how many seconds one may."""
        now = self._clock()
        level, at = self._levels.pop(owner, (self._size, now))
        level = min(self._size, level + (now - at) * self._rate)
        is_free = level >= 1
        self._levels[owner] = (level - 1 if is_free else level, now)
        while len(self._levels) > _MOST_BUCKETS:
            self._levels.popitem(last=False)
        return 0.0 if is_free else (1 - level) / self._rate


BUCKETS: web.AppKey[Buckets] = web.AppKey("api_buckets", Buckets)


def make_buckets(app: web.Application, a_minute: int) -> None:
    """One set a process."""
    app[BUCKETS] = Buckets(a_minute)


@web.middleware
async def serve_api(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Stands behind the guard, which has said who asks."""
    if not is_api(request):
        return await handler(request)
    if LOGIN in request and (wait := request.app[BUCKETS].take(owner_of(request))):
        seconds = str(max(1, round(wait + 0.5)))
        most = services(request).settings.web.api_per_minute
        detail = f"At most {most} requests a minute. Try again in {seconds} s."
        return problem(request, 429, detail, headers={"Retry-After": seconds})
    try:
        return await handler(request)
    except Refused as error:
        return problem(request, error.status, error.detail, kind=error.kind, faults=error.faults, headers=error.headers)
