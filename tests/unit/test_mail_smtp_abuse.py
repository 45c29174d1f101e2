"""Abuse at the SMTP door: nobody brings a second message in, and nobody keeps others out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial

import pytest

from agent.mail.smtp import SmtpServer
from agent.mail.smtp.connection import Connection
from agent.mail.smtp.guarded import GuardedSession
from tests.unit.smtp_lab import Client, MemoryIntake, deliver, door

MAIL = b"Subject: x\r\n\r\n1\r\n.\r\n"
SECOND = b"MAIL FROM:<evil@example.net>\r\nRCPT TO:<b@example.com>\r\nDATA\r\nSubject: second\r\n\r\n.\r\nQUIT\r\n"


@pytest.fixture
def intake() -> MemoryIntake:
    return MemoryIntake()


@pytest.fixture
async def server(intake: MemoryIntake) -> AsyncIterator[SmtpServer]:
    async with door(intake) as server:
        yield server


async def until_hung_up(client: Client) -> list[str]:
    lines = []
    while line := await client.reply():
        lines.append(line)
    client.close()
    return lines


# --- No second message ------------------------------------------------------------------------------------------------

ENDS = [
    b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n", b"\n.\r", b"\r\n\x00.\r\n", b"\r\n.\x00\r\n",
    b"\r\n .\r\n", b"\r\n. \r\n", b"\r\r\n.\r\r\n", b"\n\r.\n\r", b"\x85.\x85", b"\xe2\x80\xa8.\xe2\x80\xa8",
]  # fmt: skip


@pytest.mark.parametrize("end", ENDS, ids=repr)
@pytest.mark.parametrize("step", [1, 1000])
async def test_no_other_end_of_data_is_one(server: SmtpServer, intake: MemoryIntake, end: bytes, step: int) -> None:
    """SMTP smuggling (RFC 5321, 4.1.1.4): what other servers may take for an end is content here, byte by byte."""
    client = await Client.connect(server.port)
    await client.begin()
    content = b"Subject: first\r\n\r\nx" + end + SECOND.replace(b"\r\n.\r\n", b"\r\n..\r\n")
    for at in range(0, len(content), step):
        client.send(content[at : at + step])
        await client.writer.drain()
    assert (await client.ask(b"\r\n.\r\n"))[:3] == "250"
    client.close()
    assert [mail.envelope["mail_from"] for mail in intake.mails] == ["a@example.com"]
    assert b"evil@example.net" in intake.mails[0].raw


async def test_a_message_sent_before_it_was_asked_for_is_refused(server: SmtpServer, intake: MemoryIntake) -> None:
    """RFC 2920, 3.1: DATA is the last command of a group. A web browser that is made to post here does this."""
    client = await Client.connect(server.port)
    client.send(b"EHLO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n" + MAIL + SECOND)
    lines = await until_hung_up(client)
    assert [line[:3] for line in lines] == ["220", "250", "250", "250", "554"]
    assert intake.mails == []


async def test_where_data_is_refused_its_lines_are_no_commands(server: SmtpServer, intake: MemoryIntake) -> None:
    client = await Client.connect(server.port)
    await client.reply()
    await client.ask(b"EHLO x\r\n")
    assert (await client.ask(b"DATA\r\n"))[:3] == "503"
    client.send(b"MAIL FROM:<a@example.com>\r\nDATA\r\n" + SECOND)
    assert [(await client.reply())[:3] for _ in range(2)] == ["250", "503"]
    lines = await until_hung_up(client)
    assert intake.mails == []
    assert "354" not in {line[:3] for line in lines}


async def test_a_browser_gets_nowhere(server: SmtpServer, intake: MemoryIntake) -> None:
    client = await Client.connect(server.port)
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\nEHLO x\r\n" + SECOND * 50)
    lines = await until_hung_up(client)
    assert lines[-1][:3] in ("421", "554", "502")
    assert intake.mails == []


async def test_pipelined_groups_are_served_in_order(server: SmtpServer, intake: MemoryIntake) -> None:
    """RFC 2920 as Postfix and Exim use it: the next group comes with the end of the message."""
    client = await Client.connect(server.port)
    await client.begin()
    for number in range(20):
        group = b"MAIL FROM:<%d@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n" % number
        client.send(b"Subject: %d\r\n\r\n.\r\n" % number + group)
        assert [(await client.reply())[:3] for _ in range(4)] == ["250", "250", "250", "354"]
    client.close()
    assert [mail.envelope["mail_from"] for mail in intake.mails] == [
        "a@example.com",
        *(f"{number}@example.com" for number in range(19)),
    ]


# --- Nobody relays, nobody guesses ------------------------------------------------------------------------------------


async def test_only_doors_are_delivered_to(intake: MemoryIntake) -> None:
    async with door(intake, journal=["journal@in.example.com"], teams={"sales@in.example.com": "Sales"}) as server:
        client = await Client.connect(server.port)
        await client.reply()
        await client.ask(b"EHLO x\r\n")
        await client.ask(b"MAIL FROM:<>\r\n")
        for address in (b"x@example.net", b"journal@example.net", b"journal%in.example.com@example.net", b"x"):
            assert (await client.ask(b"RCPT TO:<" + address + b">\r\n"))[:9] == "550 5.7.1"
        assert (await client.ask(b"DATA\r\n"))[:3] == "503"
        assert (await client.ask(b"RCPT TO:<Journal@IN.example.com>\r\n"))[:3] == "250"
        assert (await client.ask(b"RCPT TO:<sales@in.example.com>\r\n"))[:3] == "250"
        await client.ask(b"DATA\r\n")
        assert (await client.ask(MAIL))[:3] == "250"
        client.close()
    [mail] = intake.mails
    assert mail.envelope["doors"] == {"Journal@IN.example.com": "journal", "sales@in.example.com": "team"}
    assert mail.envelope["teams"] == {"sales@in.example.com": "Sales"}


async def test_too_many_recipients_come_in_another_message(server: SmtpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.mail.smtp.connection._MOST_RECIPIENTS", 3)
    client = await Client.connect(server.port)
    await client.reply()
    await client.ask(b"EHLO x\r\n")
    await client.ask(b"MAIL FROM:<a@example.com>\r\n")
    answers = [await client.ask(b"RCPT TO:<%d@example.com>\r\n" % number) for number in range(4)]
    assert [answer[:3] for answer in answers] == ["250"] * 3 + ["452"]
    assert (await client.ask(b"DATA\r\n"))[:3] == "354"
    client.close()


# --- Limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "junk", [b"FOO\r\n", b"RCPT TO:<x@example.net>\r\n", b"\r\n", b"\xff\r\n", b"x" * 9000 + b"\r\n"]
)
async def test_who_only_makes_errors_is_sent_away(server: SmtpServer, junk: bytes) -> None:
    client = await Client.connect(server.port)
    client.send(b"EHLO x\r\n" + junk * 60)
    lines = await until_hung_up(client)
    assert len(lines) < 60
    assert lines[-1][:3] in ("421", "502")


async def test_who_never_comes_to_a_message_is_sent_away(server: SmtpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.mail.smtp.guarded._MOST_REPLIES", 50)
    client = await Client.connect(server.port)
    client.send(b"NOOP\r\nRSET\r\n" * 500)
    lines = await until_hung_up(client)
    assert len(lines) < 60 and lines[-1][:3] == "421"
    busy = await Client.connect(server.port)
    await busy.begin()
    for _ in range(40):  # whoever does bring messages may go on for ever
        assert (await busy.ask(MAIL))[:3] == "250"
        await busy.ask(b"MAIL FROM:<a@example.com>\r\n")
        await busy.ask(b"RCPT TO:<b@example.com>\r\n")
        assert (await busy.ask(b"DATA\r\n"))[:3] == "354"
    busy.close()


async def test_one_machine_does_not_take_all_connections(intake: MemoryIntake) -> None:
    """Five hundred at once from one address; another address is served, and the first again once they are gone."""
    async with door(intake, source_connections=20) as server:
        crowd = await asyncio.gather(*(Client.connect(server.port, source="127.0.0.2") for _ in range(500)))
        greetings = await asyncio.gather(*(one.reply() for one in crowd))
        codes = [greeting[:3] for greeting in greetings]
        assert codes.count("220") == 20
        assert set(codes) <= {"220", "421", ""}  # in such a crowd not everybody hears why
        other = await Client.connect(server.port, source="127.0.0.3")
        assert (await other.begin())[:3] == "354"
        assert (await other.ask(MAIL))[:3] == "250"
        for one in (*crowd, other):
            one.close()
        for _ in range(1000):
            again = await Client.connect(server.port, source="127.0.0.2")
            greeting = await again.reply()
            again.close()
            if greeting[:3] == "220":
                break
            await asyncio.sleep(0.01)
        assert greeting[:3] == "220"
    assert len(intake.mails) == 1


async def test_five_hundred_messages_at_once(intake: MemoryIntake) -> None:
    async with door(intake, source_connections=500) as server:

        async def one(number: int) -> str:
            client = await Client.connect(server.port)
            await client.begin(sender=f"{number}@example.com")
            answer = await client.ask(b"Subject: %d\r\n\r\n" % number + b"x" * 5000 + b"\r\n.\r\n")
            client.close()
            return answer

        answers = await asyncio.gather(*(one(number) for number in range(500)))
    assert {answer[:3] for answer in answers} == {"250"}
    assert sorted(int(mail.envelope["mail_from"].split("@")[0]) for mail in intake.mails) == list(range(500))


async def test_a_machine_that_sends_too_much_is_asked_to_come_later(intake: MemoryIntake) -> None:
    async with door(intake, source_messages=2) as server:
        assert await asyncio.to_thread(deliver, server.port, b"Subject: x\r\n\r\n", times=3) == [250, 250, 450]


async def test_a_machine_with_too_many_errors_is_turned_away_for_a_while(intake: MemoryIntake) -> None:
    async with door(intake, source_errors=5, journal=["journal@example.com"]) as server:
        for _ in range(2):
            client = await Client.connect(server.port, source="127.0.0.2")
            await client.reply()
            await client.ask(b"EHLO x\r\n")
            await client.ask(b"MAIL FROM:<a@example.com>\r\n")
            for _ in range(3):
                await client.ask(b"RCPT TO:<x@example.net>\r\n")
            client.close()
        refused = await Client.connect(server.port, source="127.0.0.2")
        assert (await refused.reply())[:3] == "421"
        refused.close()
        other = await Client.connect(server.port)
        assert (await other.reply())[:3] == "220"
        other.close()


# --- The slow and the large -------------------------------------------------------------------------------------------


async def test_who_is_silent_is_hung_up_on_and_a_byte_of_a_command_is_no_sign_of_life(
    intake: MemoryIntake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.mail.smtp.guarded._IDLE_SECONDS", 0.5)
    async with door(intake) as server:
        silent = await Client.connect(server.port)
        dripping = await Client.connect(server.port)

        async def drip() -> None:
            for byte in b"NOOP" * 1000:
                dripping.send(bytes([byte]))
                await asyncio.sleep(0.05)

        task = asyncio.create_task(drip())
        for client in (silent, dripping):
            assert [line[:3] for line in await until_hung_up(client)] == ["220"]
        task.cancel()


async def test_a_steady_sender_is_alive_and_one_that_drips_is_not(
    intake: MemoryIntake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.mail.smtp.guarded._IDLE_SECONDS", 1.0)
    async with door(intake) as server:
        client = await Client.connect(server.port)
        await client.begin()
        for _ in range(15):
            client.send(b"x" * 100 + b"\r\n")
            await asyncio.sleep(0.1)
        assert (await client.ask(b".\r\n"))[:3] == "250"
        client.close()
        monkeypatch.setattr("agent.mail.smtp.connection._SLOW_SECONDS", 0.0)
        monkeypatch.setattr("agent.mail.smtp.connection._SLOWEST", 1e9)
        slow = await Client.connect(server.port)
        await slow.begin()
        slow.send(b"x")
        assert await slow.reply() == ""
        slow.close()
    assert len(intake.mails) == 1


async def test_what_is_under_way_is_bounded_in_memory(intake: MemoryIntake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty connections with twenty megabytes each, none of which ends: memory for thirty-two."""
    monkeypatch.setattr("agent.mail.smtp.connection._ROOM_SECONDS", 0.01)
    megabyte = 1024 * 1024
    async with door(intake, memory_megabytes=32, max_bytes=20 * megabyte) as server:
        crowd = await asyncio.gather(*(Client.connect(server.port) for _ in range(20)))
        assert {(await one.begin())[:3] for one in crowd} == {"354"}
        chunk = b"x" * 1000 + b"\r\n"
        for _ in range(20):
            for one in crowd:
                one.send(chunk * 1000)
                await one.writer.drain()
        kept = server._hall.budget
        assert kept._free >= 0
        under_way = [one._data for one in server._hall.connections if isinstance(one, Connection)]
        assert sum(len(one._buffer) for one in under_way if one is not None) <= 33 * megabyte
        answers = [(await one.ask(b".\r\n"))[:3] for one in crowd]
        assert "452" in answers and set(answers) <= {"250", "452"}
        for one in crowd:
            one.close()
        assert await asyncio.to_thread(deliver, server.port, b"Subject: after\r\n\r\n") == [250]
        assert kept._free == 32 * megabyte


async def test_a_message_that_says_its_size_waits_for_room(intake: MemoryIntake) -> None:
    megabyte = 1024 * 1024
    intake.gate.clear()
    async with door(intake, memory_megabytes=1, max_bytes=megabyte) as server:
        first = await Client.connect(server.port)
        await first.begin()
        first.send(b"x" * 900_000 + b"\r\n.\r\n")
        await intake.entered.wait()
        second = await Client.connect(server.port)
        await second.reply()
        await second.ask(b"EHLO x\r\n")
        await second.ask(b"MAIL FROM:<a@example.com> SIZE=500000\r\n")
        await second.ask(b"RCPT TO:<b@example.com>\r\n")
        second.send(b"DATA\r\n")
        waiting = asyncio.create_task(second.reply())
        done, _ = await asyncio.wait({waiting}, timeout=0.3)
        assert not done
        intake.gate.set()
        assert (await waiting)[:3] == "354"
        assert (await first.reply())[:3] == "250"
        for one in (first, second):
            one.close()


async def test_where_no_room_comes_the_sender_is_asked_to_come_later(
    intake: MemoryIntake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.mail.smtp.connection._ROOM_SECONDS", 0.01)
    intake.gate.clear()
    async with door(intake, memory_megabytes=1, max_bytes=1024 * 1024) as server:
        first = await Client.connect(server.port)
        await first.begin()
        first.send(b"x" * 1_000_000 + b"\r\n.\r\n")
        await intake.entered.wait()
        second = await Client.connect(server.port)
        assert (await second.begin())[:9] == "452 4.3.1"
        assert (await second.ask(b"NOOP\r\n"))[:3] == "250"
        intake.gate.set()
        for one in (first, second):
            one.close()


async def test_who_hangs_up_leaves_nothing_behind(server: SmtpServer, intake: MemoryIntake) -> None:
    whole = server._hall.budget._free
    for cut in (b"", b"EHLO x\r\n", b"EHLO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n"):
        client = await Client.connect(server.port)
        client.send(cut)
        await client.reply()
        client.close()
    half = await Client.connect(server.port)
    await half.begin()
    half.send(b"x" * 500_000)
    await half.writer.drain()
    half.close()
    await until(lambda: not server._hall.connections)
    assert server._hall.budget._free == whole
    assert server._hall.sources.find("127.0.0.1").connections == 0
    assert intake.mails == []


async def test_who_hangs_up_before_the_answer_frees_no_room(intake: MemoryIntake) -> None:
    """Else memory could be filled without end by messages that nobody waits for."""
    intake.gate.clear()
    async with door(intake) as server:
        whole = server._hall.budget._free

        def taken() -> int:
            return whole - server._hall.budget._free

        for number in range(3):
            before = taken()
            client = await Client.connect(server.port)
            await client.begin()
            client.send(b"x" * 500_000 + b"\r\n.\r\n")
            await until(partial(_is_more, taken, before + 500_000))
            if number == 0:
                await intake.entered.wait()
            client.close()
            await until(lambda: not server._hall.connections)
        assert taken() > 3 * 500_000
        intake.gate.set()
        await until(lambda: taken() == 0)


def _is_more(count: Callable[[], int], than: int) -> bool:
    return count() > than


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("waited in vain")


def test_the_commands_of_the_library_are_all_found() -> None:
    """`__dir__` tells aiosmtpd its own commands and ours; one it gains with a new version is among them."""
    everything = {name for one in Connection.__mro__ for name in vars(one) if name.startswith("smtp_")}
    assert everything == set(Connection._commands) >= {"smtp_EHLO", "smtp_DATA", "smtp_AUTH", "smtp_STARTTLS"}
    assert issubclass(Connection, GuardedSession)
