"""How the demo's SIPREC client reaches a server: signalling over UDP, TCP and TLS."""

from __future__ import annotations

import asyncio
import ssl


class Udp(asyncio.DatagramProtocol):
    """Signalling over UDP."""

    def __init__(self) -> None:
        self._came: asyncio.Queue[bytes] = asyncio.Queue()

    async def open(self, server: tuple[str, int]) -> tuple[str, int]:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, remote_addr=server)
        host, port = self._transport.get_extra_info("sockname")[:2]
        return host, port

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        self._came.put_nowait(data)

    def send(self, data: bytes) -> None:
        self._transport.sendto(data)

    async def receive(self) -> bytes:
        return await self._came.get()

    def close(self) -> None:
        self._transport.close()


class Tcp:
    """Signalling over TCP, or TLS with a context."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._tls, self._rest = tls, b""

    async def open(self, server: tuple[str, int]) -> tuple[str, int]:
        self._reader, self._writer = await asyncio.open_connection(*server, ssl=self._tls)
        host, port = self._writer.get_extra_info("sockname")[:2]
        return host, port

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def receive(self) -> bytes:
        while b"\r\n\r\n" not in self._rest:
            self._rest += await self._more()
        head, separator, _ = self._rest.partition(b"\r\n\r\n")
        whole = len(head) + len(separator) + int(header_of(head, "Content-Length") or 0)
        while len(self._rest) < whole:
            self._rest += await self._more()
        message, self._rest = self._rest[:whole], self._rest[whole:]
        return message

    async def _more(self) -> bytes:
        data = await self._reader.read(65536)
        if not data:
            raise ConnectionResetError("closed by the server")
        return data

    def close(self) -> None:
        self._writer.close()


def header_of(message: bytes, name: str) -> str:
    """The first header field of that name; empty where there is none."""
    for line in message.split(b"\r\n\r\n", 1)[0].decode("utf-8", "replace").split("\r\n"):
        key, _, value = line.partition(":")
        if key.strip().lower() == name.lower():
            return value.strip()
    return ""
