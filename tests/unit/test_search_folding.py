"""Marks of all scripts are blanks before PostgreSQL parses a text, and letters stay what they are."""

from __future__ import annotations

import unicodedata
from itertools import chain

from sqlalchemy import text

from agent.store.engine import Store
from agent.store.folding import folded


async def test_marks_are_no_part_of_a_word_and_letters_are(store: Store) -> None:
    letters = [chr(code) for code in (*range(1, 0xD800), *range(0xE000, 0x20000))]
    async with store.begin() as connection:
        sql = f"SELECT ({folded('one')}) FROM unnest(CAST(:letters AS text[])) AS one"
        made = list((await connection.execute(text(sql), {"letters": letters})).scalars())
    fold = dict(zip(letters, made, strict=True))
    common = (range(0x80, 0x250), range(0x2000, 0x2C00), range(0x3000, 0x3040), range(0xFF00, 0xFFF0))
    marks = [one for one in map(chr, chain(*common)) if unicodedata.category(one)[0] in "PZ"]
    assert [one for one in marks if fold[one] == one] == []
    words = [one for one in letters if fold[one] != one and unicodedata.category(one)[0] == "L"]
    assert "".join(words) == "Ёё"
    assert (fold["Ё"], fold["ё"], fold["\u00ad"], fold["«"]) == ("е", "е", "", " ")
