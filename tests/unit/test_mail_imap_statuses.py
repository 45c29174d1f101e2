"""STATUS of all folders in one answer: names in every form in which servers write them."""

from __future__ import annotations

from typing import Any

import pytest

from agent.mail.imap import statuses
from agent.mail.imap.plan import FolderStatus

_ONE = FolderStatus(uidvalidity=7, uidnext=4, exists=3, modseq=99)
_ITEMS = b"(MESSAGES 3 UIDNEXT 4 UIDVALIDITY 7 HIGHESTMODSEQ 99)"


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ([b"INBOX " + _ITEMS], {b"INBOX": _ONE}),
        ([b'"Sent Items" ' + _ITEMS], {b"Sent Items": _ONE}),
        ([b'"a\\"b\\\\c" ' + _ITEMS], {b'a"b\\c': _ONE}),
        ([(b"{6}", b"\xd0\x94\xd0\x90 x"), b" " + _ITEMS], {b"\xd0\x94\xd0\x90 x": _ONE}),
        ([b"Archive (UIDNEXT 5 MESSAGES 4)"], {b"Archive": FolderStatus(uidvalidity=0, uidnext=5, exists=4)}),
        ([b"01 (messages 0 UIDNEXT 1 UIDVALIDITY 2)"], {b"01": FolderStatus(uidvalidity=2, uidnext=1)}),
        ([b"nonsense", None, b"INBOX " + _ITEMS, b"(("], {b"INBOX": _ONE}),
        ([None], {}),
    ],
)
def test_an_answer_is_read(said: list[Any], found: dict[bytes, FolderStatus]) -> None:
    assert statuses.read(said) == found
