"""Invented mail as a sales team has it: from a line to megabytes, about 25 KB on average; text, HTML, attachments."""

from __future__ import annotations

import base64
import os
import random
from collections.abc import Iterator
from pathlib import Path

_WORDS = (
    *("договор", "поставка", "счёт", "оплата", "доставка", "склад", "цена", "скидка", "образец", "срок", "встреча"),
    *("звонок", "предложение", "спасибо", "партия", "invoice", "delivery", "price", "sample", "contract", "meeting"),
    *("proposal", "thank you", "please", "best regards", "warehouse", "discount"),
)
_CLIENTS, _THREAD = 400, 4  # mails of a thread


def message(number: int, seed: int = 1) -> bytes:
    """The mail of this number; the same each time."""
    dice = random.Random(f"{seed}-{number}")
    client = f"client{number // _THREAD % _CLIENTS}@example.org"
    sender, recipient = (client, "anna@example.com") if number % 2 else ("anna@example.com", client)
    root = f"<{seed}.{number - number % _THREAD}@example.org>"
    head = [
        f"From: <{sender}>",
        f"To: <{recipient}>",
        f"Message-ID: <{seed}.{number}@example.org>",
        f"Date: Mon, {1 + number % 28:02} {('Jan', 'Feb', 'Mar', 'Apr')[number % 4]} 2025 10:00:00 +0300",
        "Subject: =?utf-8?b?" + base64.b64encode(f"Заказ {number // _THREAD}".encode()).decode() + "?=",
        "MIME-Version: 1.0",
        *([f"In-Reply-To: {root}", f"References: {root}"] if number % _THREAD else []),
    ]
    return "\r\n".join([*head, *_body(dice)]).encode()


def _body(dice: random.Random) -> Iterator[str]:
    kind = dice.random()
    if kind < 0.45:
        yield from ("Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit", "")
        yield from _lines(dice, dice.randrange(5, 80))
        return
    yield from ('Content-Type: multipart/mixed; boundary="=_b"', "", "--=_b")
    yield from ("Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit", "")
    yield from _lines(dice, dice.randrange(5, 60))
    yield from ("--=_b", "Content-Type: text/html; charset=utf-8", "Content-Transfer-Encoding: 8bit", "")
    yield "<html><body><table>"
    yield from (f"<tr><td><p style='color:#333'>{line}</p></td></tr>" for line in _lines(dice, dice.randrange(5, 60)))
    yield "</table></body></html>"
    if kind > 0.8:
        size = int(min(2_000_000, 14_000 * dice.paretovariate(1.2)))
        yield from ("--=_b", 'Content-Type: application/pdf; name="a.pdf"', "Content-Transfer-Encoding: base64", "")
        yield base64.encodebytes(dice.randbytes(size)).decode().replace("\n", "\r\n")
    yield "--=_b--"


def _lines(dice: random.Random, count: int) -> list[str]:
    return [" ".join(dice.choices(_WORDS, k=9)) for _ in range(count)]


def fill_maildir(folder: Path, count: int) -> int:
    """Put messages into a Maildir as a delivery agent does; returns their bytes together."""
    for name in ("cur", "new", "tmp"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    total = 0
    for number in range(count):
        raw = message(number)
        total += len(raw)
        path = folder / "cur" / f"{1700000000 + number}.M{number}P1.bench,S={len(raw)}:2,S"
        path.write_bytes(raw)
        os.utime(path, (1700000000 + number, 1700000000 + number))
    return total
