"""Word forms put together from remembered pieces are those that PostgreSQL makes of the whole text."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Sequence
from itertools import chain

import pytest
from sqlalchemy import text

from agent.store import wordforms
from agent.store.engine import Store
from agent.store.folding import fold, folded
from agent.store.wordforms import CONFIG, FORMS, WordForms, vector

_PIECES = (
    *(
        "договор",
        "Договора,",
        "диваны",
        "и",
        "в",
        "не",
        "ЕЛКИ",
        "сто-двадцать",
        "кто-нибудь",
        "по-русски,",
        "№12",
        "«Ромашка»",
    ),
    *(
        "the",
        "Invoices",
        "chairs.",
        "e-mail:",
        "anna.k@example.com",
        "<",
        "www.example.com",
        "http:",
        "example.com?a=b&c=d",
    ),
    *(
        "12",
        "-5",
        "+7",
        "3.14",
        "1e5",
        "1.2.3",
        "10:30",
        "2026-03-02",
        "(4)",
        "4512/7",
        "5%",
        "-",
        "—",
        ".",
        "...",
        "&amp;",
        "a_b",
    ),
    *(
        "O'Reilly",
        "back\\slash",
        "it's",
        "\\",
        "'",
        "''",
        "x" * 60,
        "я" * 3000,
        "qzendqz",
        "qzendqz-qzendqz",
        "a-qzendqz",
        "😀",
        "ё",
    ),
    *(
        "file.tar.gz",
        "C:\\dir\\file.txt",
        "user@host",
        "@home",
        "#tag",
        "1,5",
        "1 000",
        "сло\u00a0во",
        "foo\u2028bar",
        "b\x1cc",
        "ﬁ",
    ),
    *(
        "_",
        "__init__",
        "a.b.c-d",
        "d-e-f-g",
        "слово-word-1",
        "1-й",
        "5-го",
        "COVID-19",
        "2x",
        "x2",
        "ИНН/КПП",
        "--",
        "->",
        "*",
    ),
)


async def _both(store: Store, texts: Sequence[tuple[str, str]]) -> None:
    """Pairs of weight and text."""
    vectors = [
        f"setweight(to_tsvector('{CONFIG}', ' ' || {folded(f':t{at}')}), '{weight}')"
        for at, (weight, _) in enumerate(texts)
    ]
    made = f"SELECT {' || '.join(vectors)} AS words"
    sql = f"SELECT words || array_to_tsvector(tsvector_to_array({FORMS})) AS words FROM ({made}) AS made"
    values = {f"t{at}": one for at, (_, one) in enumerate(texts)}
    async with store.begin() as connection:
        expected = (await connection.execute(text(sql), values)).scalar_one()
        pieces = [(weight, one.split()) for weight, one in texts]
        known = await WordForms().learn(connection, (one for _, one in pieces))
        ours = vector(pieces, (), known)
        found = (await connection.execute(text("SELECT CAST(:made AS tsvector)"), {"made": ours})).scalar_one()
    assert found == expected


@pytest.mark.parametrize("piece", _PIECES)
async def test_each_sort_of_piece_among_others(store: Store, piece: str) -> None:
    await _both(store, [("A", piece), ("B", f"{piece} слово {piece}\n{piece}\tword"), ("D", f"до {piece}")])


async def test_any_mixture(store: Store) -> None:
    dice = random.Random(7)
    for _ in range(150):
        texts = [
            (weight, dice.choice((" ", "\n", "  \r\n")).join(dice.choices(_PIECES, k=dice.randrange(40))))
            for weight in ("A", "A", "B", "D")
        ]
        await _both(store, texts)


async def test_letters_of_every_sort_side_by_side(store: Store) -> None:
    """Whatever the parser may take for a token of its own sort."""
    dice = random.Random(8)
    letters = "aZя9 .,-_@:&?=%#+'\"\\;()[]{}~!$^*|`№—«»\u00a0é\n"
    for _ in range(300):
        await _both(store, [("A", "".join(dice.choices(letters, k=60))), ("B", "".join(dice.choices(letters, k=60)))])


async def test_more_places_than_a_vector_has(store: Store) -> None:
    await _both(store, [("A", "стол " * 300), ("B", "стул " + "стол " * 300), ("D", "стол")])
    await _both(store, [("A", "стол стул " * 9000), ("B", "стол окно"), ("D", "стул окно окно")])
    await _both(
        store, [("A", " ".join(f"слово{n}" for n in range(17000))), ("B", "слово1 слово16990 новое"), ("D", "новое")]
    )


async def test_marks_are_folded_alike_here_and_there(store: Store) -> None:
    letters = [chr(code) for code in (*range(1, 0xD800), *range(0xE000, 0x20000))]
    async with store.begin() as connection:
        sql = f"SELECT ({folded('one')}) FROM unnest(CAST(:letters AS text[])) AS one"
        there = list((await connection.execute(text(sql), {"letters": letters})).scalars())
    assert there == [fold(one) for one in letters]
    common = (range(0x80, 0x250), range(0x2000, 0x2C00), range(0x3000, 0x3040), range(0xFF00, 0xFFF0))
    marks = [one for one in map(chr, chain(*common)) if unicodedata.category(one)[0] in "PZ"]
    assert [one for one in marks if fold(one) == one] == []
    words = [one for one in letters if fold(one) != one and unicodedata.category(one)[0] == "L"]
    assert "".join(words) == "Ёё"


async def test_what_is_forgotten_is_asked_again(store: Store) -> None:
    forms = WordForms(most=10)
    async with store.begin() as connection:
        for start in range(0, 100, 7):
            words = [f"слово{n}" for n in range(start, start + 7)]
            known = await forms.learn(connection, [words, ["я" * 100]])
            assert all(one in known for one in words)
    assert len(forms._known) <= 10 + 8 + wordforms._LONGEST
