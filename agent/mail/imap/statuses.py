"""How all folders of a mailbox stand, in one command (LIST-STATUS, RFC 5819): who has dozens of folders and no news in
them pays one answer a round for what would be an EXAMINE each."""

from __future__ import annotations

import imaplib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from imapclient.imapclient import IMAPClient

from agent.mail.imap import names
from agent.mail.imap.plan import FolderStatus

_ITEMS = "RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY HIGHESTMODSEQ))"
_LINE = re.compile(rb"(?P<name>\"(?:[^\"\\]|\\.)*\"|[^\s\"{}]+|\{\d+\+?\}) ?\((?P<items>[^()]*)\) *", re.DOTALL)
_ITEM = re.compile(rb"([A-Z]+) (\d{1,20})", re.IGNORECASE)


def ask(client: IMAPClient) -> dict[bytes, FolderStatus]:
    """Name as the server writes it → status; empty where it does not do it after all.

    Raises:
        imaplib.IMAP4.abort: the connection is lost.
    """
    connection = client._imap
    try:
        kind, _ = connection._simple_command("LIST", '""', '"*"', _ITEMS)
    except imaplib.IMAP4.abort:
        raise
    except imaplib.IMAP4.error:  # it says that it can, and does not understand it
        return {}
    if kind != "OK":
        return {}
    connection._untagged_response(kind, [None], "LIST")  # else it would stay for the next who asks
    return read(connection._untagged_response(kind, [None], "STATUS")[1])


def read(said: Sequence[Any]) -> dict[bytes, FolderStatus]:
    """What `imaplib` gives of the untagged STATUS: lines, or the line before a literal, the literal, and the rest."""
    found: dict[bytes, FolderStatus] = {}
    literal: bytes | None = None
    for piece in said:
        if isinstance(piece, tuple):
            literal = piece[1]
            continue
        line = b"{0}" + piece if literal is not None and piece is not None else piece
        parts = _LINE.fullmatch(line or b"")
        if parts is not None:
            name = literal if literal is not None else names.unquoted(parts["name"])
            items = {one[1].upper(): int(one[2]) for one in _ITEM.finditer(parts["items"])}
            found[name] = _status(items)
        literal = None
    return found


def _status(items: Mapping[bytes, int]) -> FolderStatus:
    return FolderStatus(
        uidvalidity=items.get(b"UIDVALIDITY", 0),
        uidnext=items.get(b"UIDNEXT", 0),
        exists=items.get(b"MESSAGES", 0),
        modseq=items.get(b"HIGHESTMODSEQ", 0),
    )
