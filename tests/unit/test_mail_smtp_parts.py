"""The parts of the SMTP door by themselves: end of data, doors, limits, memory, batches, logins."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agent.errors import ArchiveUnavailable
from agent.mail.doors import Door
from agent.mail.smtp.accounts import Accounts, read_base64, read_plain
from agent.mail.smtp.addresses import Doors
from agent.mail.smtp.batches import Batches
from agent.mail.smtp.data import DataState, MessageData
from agent.mail.smtp.limits import MemoryBudget, Sources
from agent.model import CapturedMail
from agent.settings_smtp import SmtpAccount
from tests.unit.smtp_lab import MemoryIntake, settings

# --- What follows DATA ------------------------------------------------------------------------------------------------


def taken(chunks: list[bytes], *, largest: int = 10_000) -> tuple[MessageData, bytes | None]:
    data = MessageData(largest=largest, grow=lambda _: True)
    for at, chunk in enumerate(chunks):
        rest = data.feed(chunk)
        if rest is not None:
            return data, rest + b"".join(chunks[at + 1 :])
    return data, None


def reference(stream: bytes) -> tuple[bytes, bytes] | None:
    """RFC 5321, 4.1.1.4 and 4.5.2, line by line."""
    lines: list[bytes] = []
    while b"\r\n" in stream:
        line, _, stream = stream.partition(b"\r\n")
        if line == b".":
            return b"".join(lines), stream
        lines.append((line[1:] if line.startswith(b".") else line) + b"\r\n")
    return None


@given(
    st.lists(st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"\r\n.", b"\r\n.\r\n", b"a", b".\r\n", b"..", b"\0"])),
    st.data(),
)
def test_the_end_is_found_wherever_the_chunks_break(pieces: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    chunks = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    found, rest = taken(chunks)
    expected = reference(stream)
    if expected is None:
        assert rest is None
        return
    assert rest == expected[1]
    assert found.content() == expected[0]


@pytest.mark.parametrize("size", [1, 99, 100, 101, 5000])
@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_a_message_past_its_largest_size_is_passed_over_to_its_end(size: int, step: int) -> None:
    stream = b"x" * size + b"\r\n.\r\nQUIT\r\n"
    found, rest = taken([stream[at : at + step] for at in range(0, len(stream), step)], largest=102)
    assert rest == b"QUIT\r\n"
    assert found.state is (DataState.TAKING if size <= 100 else DataState.TOO_LARGE)


def test_without_room_the_rest_is_passed_over() -> None:
    asked: list[int] = []

    def grow(size: int) -> bool:
        asked.append(size)
        return sum(asked) <= 20

    data = MessageData(largest=1000, grow=grow)
    assert data.feed(b"x" * 15) is None
    assert data.feed(b"x" * 15) is None
    assert data.feed(b"x" * 15 + b"\r\n.") is None
    assert data.feed(b"\r\nRSET\r\n") == b"RSET\r\n"
    assert data.state is DataState.NO_ROOM
    assert asked == [15, 15]


# --- Doors ------------------------------------------------------------------------------------------------------------

_DOORS = {
    "journal": ["journal@in.example.com"],
    "drop": ["drop@"],
    "teams": {"Sales@in.example.com": "Sales"},
}


@pytest.mark.parametrize(
    ("address", "door"),
    [
        ("journal@in.example.com", Door.JOURNAL),
        ("JOURNAL@IN.example.com", Door.JOURNAL),
        ("journal+2@in.example.com", Door.JOURNAL),
        ("journal@example.com", None),
        ("drop@anything.example.org", Door.DROP),
        ("drop+anna@anything.example.org", Door.DROP),
        ("sales@in.example.com", Door.TEAM),
        ("someone@in.example.com", None),
        ("drop", None),
        ("", None),
        ("@in.example.com", None),
        ("a@b@in.example.com", None),
    ],
)
def test_doors(address: str, door: Door | None) -> None:
    assert Doors(settings(**_DOORS)).find(address) is door


def test_where_nothing_is_named_or_all_is_wanted_all_is_taken() -> None:
    assert Doors(settings()).find("x@example.com") is Door.ANY
    doors = Doors(settings(**_DOORS, catch_all=True))
    assert doors.find("x@example.com") is Door.ANY
    assert doors.find("drop@example.com") is Door.DROP


def test_what_the_envelope_says_of_doors() -> None:
    doors = Doors(settings(**_DOORS))
    assert doors.envelope(["Drop+1@x.example", "sales@in.example.com"]) == {
        "doors": {"Drop+1@x.example": "drop", "sales@in.example.com": "team"},
        "teams": {"sales@in.example.com": "Sales"},
    }
    assert doors.envelope(["x@example.com"]) == {}


@pytest.mark.parametrize(
    "wrong",
    [
        {"journal": ["nonsense"]},
        {"journal": ["a@example.com"], "drop": ["A@example.com"]},
        {"teams": {"x": "y"}},
        {"account": [{"user": "a", "password": "b"}]},
        {"require_tls": True},
        {"tls_certificate": "/x.pem"},
        {"memory_megabytes": 1},
        {"tls_certificate": "/x", "tls_key": "/y", "account": [{"user": "a", "password": "b"}] * 2},
        {"tls_certificate": "/x", "tls_key": "/y", "account": [{"user": "a", "password": ""}]},
        {"source_errors": 0},
    ],
)
def test_settings_that_cannot_be_meant(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        settings(**wrong)


# --- Limits -----------------------------------------------------------------------------------------------------------


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_connections_in_all_and_of_one_machine() -> None:
    sources = Sources(settings(max_connections=4, source_connections=2), clock=Clock())
    assert [sources.connect("192.0.2.1") for _ in range(2)] == [None, None]
    assert (sources.connect("192.0.2.1") or "")[:9] == "421 4.7.0"
    assert sources.connect("192.0.2.2") is None
    assert sources.connect("192.0.2.3") is None  # who was turned away does not count
    assert (sources.connect("192.0.2.4") or "")[:9] == "421 4.3.2"
    sources.disconnect("192.0.2.1")
    assert sources.connect("192.0.2.4") is None


def test_addresses_of_one_ipv6_network_are_one_machine() -> None:
    sources = Sources(settings(source_connections=1), clock=Clock())
    assert sources.connect("2001:db8::1") is None
    assert sources.connect("2001:db8::2") is not None
    assert sources.connect("2001:db8:0:1::1") is None


def test_messages_megabytes_and_errors_a_minute() -> None:
    clock = Clock()
    sources = Sources(settings(source_messages=2, source_megabytes=1, source_errors=3), clock=clock)
    peer = "192.0.2.1"
    assert sources.begin_message(peer) is None
    assert sources.begin_message(peer) is None
    assert (sources.begin_message(peer) or "")[:9] == "450 4.7.1"
    clock.now += 61
    assert sources.begin_message(peer) is None
    sources.find(peer).size += 1024 * 1024
    assert "megabytes" in (sources.begin_message(peer) or "")
    clock.now += 61
    sources.find(peer).errors += 3
    assert (sources.connect(peer) or "")[:9] == "421 4.7.0"
    clock.now += 61
    assert sources.connect(peer) is None


def test_what_is_known_of_machines_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.mail.smtp.limits._MOST_SOURCES", 10)
    clock = Clock()
    sources = Sources(settings(), clock=clock)
    sources.connect("192.0.2.200")
    for number in range(100):
        sources.find(f"198.51.100.{number}")
        assert len(sources._sources) <= 10
    assert sources.find("192.0.2.200").connections == 1


async def test_memory_is_given_in_turn_and_never_twice() -> None:
    budget = MemoryBudget(100)
    assert await budget.reserve(60, seconds=0)
    first = asyncio.create_task(budget.reserve(70, seconds=60))
    second = asyncio.create_task(budget.reserve(30, seconds=60))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not first.done() and not second.done()  # the second would fit, but it is not its turn
    assert budget.grow(40)
    assert not budget.grow(1)
    budget.release(100)
    assert await first and await second
    assert budget._free == 0


async def test_who_gives_up_waiting_holds_nobody_up() -> None:
    budget = MemoryBudget(100)
    assert await budget.reserve(90, seconds=0)
    assert not await budget.reserve(50, seconds=0)
    waiting = asyncio.create_task(budget.reserve(80, seconds=60))
    behind = asyncio.create_task(budget.reserve(10, seconds=60))
    await asyncio.sleep(0)
    waiting.cancel()
    assert await behind
    assert await asyncio.gather(waiting, return_exceptions=True)
    budget.release(100)
    assert budget._free == 100


# --- Batches ----------------------------------------------------------------------------------------------------------


def mail(number: int, size: int = 10) -> CapturedMail:
    return CapturedMail(source="smtp", key=str(number), raw=b"x" * size, received=datetime.now(UTC))


async def test_what_waits_is_stored_together_and_in_order() -> None:
    intake = MemoryIntake()
    batches = Batches(intake)
    await asyncio.gather(*(batches.store(mail(number)) for number in range(450)))
    assert [one.key for one in intake.mails] == [str(number) for number in range(450)]
    assert intake.batches == [200, 200, 50]


async def test_a_batch_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.mail.smtp.batches._MOST_BYTES", 100)
    intake = MemoryIntake()
    batches = Batches(intake)
    await asyncio.gather(*(batches.store(mail(number, 40)) for number in range(4)), batches.store(mail(9, 500)))
    assert intake.batches == [2, 2, 1]


async def test_one_mail_that_cannot_be_stored_costs_no_other() -> None:
    class Picky(MemoryIntake):
        async def store_deliveries(self, mails: Sequence[CapturedMail]) -> list[int]:
            if any(one.key == "3" for one in mails):
                raise RuntimeError("a bug")
            return await super().store_deliveries(mails)

    intake = Picky()
    batches = Batches(intake)
    results = await asyncio.gather(*(batches.store(mail(number)) for number in range(6)), return_exceptions=True)
    assert [type(one) for one in results] == [type(None)] * 3 + [RuntimeError] + [type(None)] * 2
    assert [one.key for one in intake.mails] == ["0", "1", "2", "4", "5"]


async def test_what_is_away_is_away_for_all_and_tried_once() -> None:
    intake = MemoryIntake()
    intake.fault = ArchiveUnavailable("The disk is full.")
    batches = Batches(intake)
    results = await asyncio.gather(*(batches.store(mail(number)) for number in range(6)), return_exceptions=True)
    assert [type(one) for one in results] == [ArchiveUnavailable] * 6
    intake.fault = None
    await batches.store(mail(7))
    assert intake.batches == [1]


async def test_a_sender_who_left_before_its_turn_is_left_out() -> None:
    intake = MemoryIntake()
    intake.gate.clear()
    batches = Batches(intake)
    first = asyncio.create_task(batches.store(mail(1)))
    await intake.entered.wait()
    second, third = (asyncio.create_task(batches.store(mail(number))) for number in (2, 3))
    await asyncio.sleep(0)
    second.cancel()
    first.cancel()  # it is being stored already: nobody is there to hear of it
    intake.gate.set()
    await third
    await batches.finish()
    assert [one.key for one in intake.mails] == ["1", "3"]


# --- Logins -----------------------------------------------------------------------------------------------------------


async def test_passwords_plain_and_hashed() -> None:
    hashed = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("Öl-7")
    accounts = Accounts(
        [SmtpAccount.model_validate({"user": user, "password": secret}) for user, secret in (("a", "x"), ("b", hashed))]
    )
    assert await accounts.check("a", "x")
    assert await accounts.check("b", "Öl-7")
    for user, password in (("a", "y"), ("b", "x"), ("b", hashed), ("c", "x"), ("", "")):
        assert not await accounts.check(user, password)
    assert not Accounts([])


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("\0a\0b", ("a", "b")),
        ("a\0a\0b", ("a", "b")),
        ("other\0a\0b", None),
        ("a\0b", None),
        ("\0\0b", None),
        ("\0a\0b\0c", None),
        ("", None),
    ],
)
def test_plain_responses(response: str, expected: tuple[str, str] | None) -> None:
    assert read_plain(response) == expected


def test_base64() -> None:
    assert read_base64(b"AGEAYg==") == "\0a\0b"
    assert read_base64(b"=") == ""
    assert read_base64(b"****") is None
    assert read_base64(b"/w==") is None
