"""Our requests to providers: only where they may go, only so large, only for so long.

Addresses of recordings come from outside. So a host must be one of the provider's, over HTTPS; its name is resolved
here and the connection goes to the very addresses that were checked, none of them in a private network; each redirect
is checked the same way (OWASP: Server Side Request Forgery Prevention). ``allow_private`` lifts the last two for a
provider in one's own network, never the list of hosts.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import BinaryIO

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from agent.errors import CardlineError, Misconfigured, Unavailable, connection_words

_CONNECT_SECONDS, _READ_SECONDS = 10, 30
_MOST_REDIRECTS = 5
_PIECE = 256 * 1024
_NAT64 = ip_network("64:ff9b::/96")


class ProviderUnreachable(Unavailable):
    """The provider does not answer, or answers that it cannot now."""


class ProviderRefused(Misconfigured):
    """The provider refuses our keys."""

    remedy = "Check key and secret of this [[provider]] in cardline.toml, and its rights in the provider's cabinet."


class AddressForbidden(CardlineError):
    """An address leads where no recording of this provider can lie; nothing was sent there."""

    remedy = "If it is right, add its host to recording_hosts of this [[provider]] (or set allow_private_hosts)."


class AnswerTooLarge(CardlineError):
    """The provider sends more than it may; what came was thrown away."""

    remedy = "Raise recording_max_mb of this [[provider]] if recordings are really so long."


def is_public(address: str) -> bool:
    """Whether an address is one of the internet, also where it hides inside an IPv6 one."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if inner is None and found in _NAT64:
            inner = ip_address(int(found) & 0xFFFFFFFF)  # type: ignore[assignment]  # of four bytes
        if inner is not None:
            return is_public(str(inner))
    return found.is_global and not found.is_multicast


class CheckedResolver(AbstractResolver):
    """Gives public addresses only; the connection is made to exactly these, so no second answer can trick it."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises `OSError` where there is none, which aiohttp tells as a failed connection."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
        public = [one for one in found if is_public(str(one[4][0]))]
        if not public:
            raise OSError(f"{host} has no address of the internet")
        return [
            ResolveResult(
                hostname=host,
                host=str(where[0]),
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST,
            )
            for kind, _, protocol, _, where in public
        ]

    async def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back: status, headers and the body as far as it was allowed to be long."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: URL


class Egress:
    """The way out to one provider. ``hosts`` are names, their subdomains included."""

    def __init__(self, hosts: Sequence[str], *, allow_private: bool = False) -> None:
        self._hosts = tuple(host.lower().strip(".") for host in hosts)
        self._allow_private = allow_private
        resolver = None if allow_private else CheckedResolver()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, limit_per_host=4),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_READ_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={"Accept-Encoding": "identity"},
        )

    async def close(self) -> None:
        """Close connections."""
        await self._session.close()

    def check(self, address: str | URL) -> URL:
        """The address if a request may go there.

        Raises:
            AddressForbidden: it may not.
        """
        try:
            url = URL(address)
        except ValueError:
            raise AddressForbidden("An address cannot be read.") from None
        host = (url.host or "").lower().rstrip(".")
        if url.scheme != "https" and not (self._allow_private and url.scheme == "http"):
            raise AddressForbidden(f"An address of {host or 'no host'} is not HTTPS.")
        if not any(host == one or host.endswith(f".{one}") for one in self._hosts):
            raise AddressForbidden(f"{host or 'An address without a host'} is not one of the provider's hosts.")
        if not self._allow_private and _is_literal(host) and not is_public(host):
            raise AddressForbidden(f"{host} lies in a private network.")
        return url

    async def ask(
        self,
        method: str,
        address: str | URL,
        *,
        limit: int,
        within: float,
        form: Mapping[str, str] | None = None,
        json: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request whose answer fits into ``limit`` bytes and comes ``within`` so many seconds; no redirects.

        Raises:
            ProviderUnreachable: it does not answer, or with 429 or 5xx.
            AnswerTooLarge, AddressForbidden: as they say.
        """
        async with self._open(method, address, within=within, data=form, json=json, headers=headers) as answer:
            body = bytearray()
            async for piece in answer.content.iter_chunked(_PIECE):
                body += piece
                if len(body) > limit:
                    raise AnswerTooLarge(f"The provider's answer is longer than {limit} bytes.")
            return Answer(status=answer.status, headers=answer.headers.copy(), body=bytes(body), url=answer.url)

    async def download(
        self, address: str, path: Path, *, limit: int, within: float, form: Mapping[str, str] | None = None
    ) -> str:
        """A file into ``path``, following redirects that may be followed; returns its media type.

        The first request is a POST where there is a ``form``; what it redirects to is asked with GET, without it.

        Raises:
            ProviderUnreachable: it does not answer, or not with a file.
            AnswerTooLarge, AddressForbidden: as they say.
        """
        async with _deadline(within):
            method, url = "POST" if form else "GET", self.check(address)
            for _ in range(_MOST_REDIRECTS + 1):
                async with self._open(method, url, within=within, data=form) as answer:
                    if answer.status not in (301, 302, 303, 307, 308):
                        return await _keep(answer, path, limit)
                    url = self.check(url.join(URL(answer.headers.get("Location", ""))))
                    method, form = "GET", None
            raise ProviderUnreachable("The recording is behind too many redirects.")

    @asynccontextmanager
    async def _open(
        self,
        method: str,
        address: str | URL,
        *,
        within: float,
        data: Mapping[str, str] | None = None,
        json: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        url = self.check(address)
        try:
            async with (
                _deadline(within),
                self._session.request(
                    method, url, data=data, json=json, headers=headers, allow_redirects=False
                ) as answer,
            ):
                if answer.status == 429 or answer.status >= 500:
                    raise ProviderUnreachable(f"{url.host} answers {answer.status}.")
                yield answer
        except aiohttp.ClientError as error:
            raise ProviderUnreachable(f"{url.host} does not answer: {connection_words(error)}.") from error


@asynccontextmanager
async def _deadline(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise ProviderUnreachable(f"The provider did not finish its answer within {seconds:g} seconds.") from None


async def _keep(answer: aiohttp.ClientResponse, path: Path, limit: int) -> str:
    """The body of a good answer into a file, written by a thread."""
    if answer.status != 200:
        raise ProviderUnreachable(f"{answer.url.host} answers {answer.status} for a recording.")
    kind = answer.content_type
    if kind.startswith("text/") or kind in ("application/json", "application/xml"):
        raise ProviderUnreachable(f"{answer.url.host} gives {kind} for a recording.")
    if (answer.content_length or 0) > limit:
        raise AnswerTooLarge(f"The recording has {answer.content_length} bytes; {limit} are allowed.")
    size = 0
    with await asyncio.to_thread(path.open, "wb") as file:
        async for piece in answer.content.iter_chunked(_PIECE):
            size += len(piece)
            if size > limit:
                raise AnswerTooLarge(f"The recording is longer than {limit} bytes.")
            await asyncio.to_thread(_write, file, piece)
    if size == 0:
        raise ProviderUnreachable(f"{answer.url.host} gives an empty recording.")
    return kind


def _write(file: BinaryIO, piece: bytes) -> None:
    file.write(piece)


def _is_literal(host: str) -> bool:
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
