"""An SMTP door without a database, and clients that speak to it byte by byte."""

from __future__ import annotations

import asyncio
import smtplib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from agent.mail.smtp import SmtpServer
from agent.model import CapturedMail
from agent.settings_smtp import SmtpSettings


class MemoryIntake:
    """Keeps what it is given; ``fault`` is raised instead as long as it is set; nothing passes a closed ``gate``."""

    def __init__(self) -> None:
        self.mails: list[CapturedMail] = []
        self.batches: list[int] = []
        self.fault: BaseException | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()

    async def store_deliveries(self, mails: Sequence[CapturedMail]) -> list[int]:
        self.entered.set()
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        self.batches.append(len(mails))
        self.mails.extend(mails)
        return list(range(len(mails)))


def settings(**changes: object) -> SmtpSettings:
    """Of a server on loopback, on free ports."""
    given: dict[str, object] = {"listen": "127.0.0.1", "port": 0, "tls_port": 0, "hostname": "mx.example.com"}
    return SmtpSettings.model_validate(given | changes)


@asynccontextmanager
async def door(intake: MemoryIntake, **changes: object) -> AsyncIterator[SmtpServer]:
    """A server with these settings."""
    server = SmtpServer(settings(**changes), intake)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


class Client:
    """One connection; replies are read line by line, each within ten seconds."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, port: int, *, source: str = "127.0.0.1") -> Client:
        """Connect from one of the many addresses of loopback; the greeting is not read yet."""
        return cls(*await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0)))

    def send(self, data: bytes) -> None:
        """Without waiting for anything."""
        self.writer.write(data)

    async def reply(self) -> str:
        """The last line of the next reply; empty where the server has hung up."""
        while True:
            try:
                line = (await asyncio.wait_for(self.reader.readline(), 10)).decode()
            except ConnectionError:
                return ""
            if line[3:4] != "-":
                return line.rstrip()

    async def ask(self, data: bytes) -> str:
        """Send and read one reply."""
        self.send(data)
        return await self.reply()

    async def begin(self, *, sender: str = "a@example.com", recipient: str = "b@example.com") -> str:
        """From the greeting to the answer to DATA."""
        await self.reply()
        await self.ask(b"EHLO x\r\n")
        await self.ask(f"MAIL FROM:<{sender}>\r\n".encode())
        await self.ask(f"RCPT TO:<{recipient}>\r\n".encode())
        return await self.ask(b"DATA\r\n")

    def close(self) -> None:
        self.writer.close()


async def talk(port: int, *chunks: bytes, replies: int) -> list[str]:
    """Send the chunks, after one that ends with DATA only once the server asks for it; read so many replies."""
    client = await Client.connect(port)
    lines: list[str] = []
    for chunk in chunks:
        client.send(chunk)
        while chunk.endswith(b"DATA\r\n") and len(lines) < replies:
            lines.append(await client.reply())
            if lines[-1][:3] in ("", "354"):
                break
    while len(lines) < replies and (line := await client.reply()):
        lines.append(line)
    client.close()
    return [line for line in lines if line]


def deliver(port: int, content: bytes, *, sender: str = "anna@example.com", times: int = 1) -> list[object]:
    """Deliver as a mail server does; the answers' codes, or the exceptions of the refused ones."""
    answers: list[object] = []
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        for _ in range(times):
            try:
                answers.append(client.sendmail(sender, ["journal@example.com", "b@example.com"], content) or 250)
            except smtplib.SMTPResponseException as error:
                answers.append(error.smtp_code)
    return answers
