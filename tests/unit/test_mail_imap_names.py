"""Names of folders as servers list them, and back to the bytes they are asked for by (pure)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imapclient import imap_utf7

from agent.mail.imap import names

_USUAL = {
    "INBOX": b"INBOX",
    "01": b'"01"',
    "007": b"007",
    "2024/01": b"2024/01",
    "NIL": b"NIL",
    "Sent Items": b"Sent Items",
    'a "b" \\ c': b'"a \\"b\\" \\\\ c"',
    "Отправленное": b'"&BB4EQgQ,BEAEMAQyBDsENQQ9BD0EPgQ1-"',
    "R&D": b"R&-D",
    "a (b) {5}": b'"a (b) {5}"',
    " ": b'" "',
    "100%*": b'"100%*"',
}


@pytest.mark.parametrize("name", list(_USUAL))
def test_the_usual_is_read_and_asked_for_as_it_was(name: str) -> None:
    listing = names.read_list([b'(\\HasNoChildren) "/" ' + _USUAL[name]])
    (folder,) = listing.folders
    assert (folder.name, folder.flags, folder.delimiter) == (name, ("\\HasNoChildren",), "/")
    assert listing.raw[name] == names.usual(name) == imap_utf7.encode(name)
    assert listing.odd == ()


def test_literals_no_delimiter_and_what_follows_a_name() -> None:
    said = [
        (b"(\\Noselect) NIL {6}", b'a "b" '),
        b"",
        b'() "\\\\" "c" ("OLDNAME" ("d"))',
        b"",
        None,
    ]
    first, second = names.read_list(said).folders
    assert (first.name, first.flags, first.delimiter) == ('a "b" ', ("\\Noselect",), "")
    assert (second.name, second.delimiter) == ("c", "\\")


@pytest.mark.parametrize(
    "raw",
    [
        "Тест".encode(),  # plain UTF-8
        "Тест".encode("cp1251"),
        b"a&b",  # an ampersand by itself
        b"&Jjo",  # never closed
        b"&2AA-",  # half a surrogate
        b"&AGE-",  # a, in a form that nobody may write
        b"&!!!-",
        b"\xff\xfe",
    ],
)
def test_a_name_of_no_usual_form_is_asked_for_by_its_own_bytes(raw: bytes) -> None:
    listing = names.read_list([b'() "/" INBOX', b'() "/" ' + names.quoted(raw)])
    (name,) = (one.name for one in listing.folders if one.name != "INBOX")
    assert listing.raw[name] == raw


def test_names_that_look_the_same_are_two_folders() -> None:
    plain, usual = "Тест".encode(), imap_utf7.encode("Тест")
    for order in ((plain, usual), (usual, plain)):
        listing = names.read_list([b'() "/" ' + names.quoted(one) for one in order])
        assert len(listing.folders) == 2
        assert sorted(listing.raw.values()) == sorted(order)
        assert listing.raw["Тест"] == usual


def test_what_cannot_be_asked_for_is_told_and_stops_no_other() -> None:
    said = [b"nonsense", b'() "/" "a\\', (b'() "/" {3}', b"a\r\n"), b"", b'() "/" b']
    listing = names.read_list(said)
    assert [one.name for one in listing.folders] == ["b"]
    assert len(listing.odd) == 3


@given(st.lists(st.binary(min_size=1, max_size=12), max_size=6))
def test_every_name_has_its_own_words(given_names: list[bytes]) -> None:
    usable = {one for one in given_names if not set(one) & set(b"\0\r\n")}
    listing = names.read_list([b'() "/" ' + names.quoted(one) for one in given_names])
    assert set(listing.raw.values()) == usable
    assert len(listing.folders) == len(usable)
    assert all(listing.raw[one.name] in usable for one in listing.folders)
