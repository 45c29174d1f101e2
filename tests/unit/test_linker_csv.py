"""Lists of clients as spreadsheets save them: encodings, separators, headings, columns; and what is no list."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.settings import Settings
from linker.csvcards import LARGEST, CardRow, Plan, Unlisted, guess_plan, read_rows, sample, write_row
from linker.reading import Reader

READER = Reader(Settings())


def rows(content: bytes, plan: Plan | None = None) -> list[CardRow]:
    return list(read_rows(content, plan or guess_plan(content), READER.identity))


RUSSIAN = (
    "ФИО;Телефон;Эл. почта;Компания;Ответственный;Статус\r\n"
    "Петров Иван;8 (916) 000-00-01;Petrov@client.example.org;ООО «Ромашка»;Анна;в работе\r\n"
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1251", "utf-16"])
def test_a_list_in_whatever_encoding(encoding: str) -> None:
    (row,) = rows(RUSSIAN.encode(encoding))
    assert (row.name, row.company, row.responsible, row.stage) == ("Петров Иван", "ООО «Ромашка»", "Анна", "в работе")
    assert [str(one) for one, _ in row.contacts] == ["+79160000001", "petrov@client.example.org"]


@pytest.mark.parametrize("separator", [";", ",", "\t", "|"])
def test_a_list_with_whatever_separator(separator: str) -> None:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=separator)
    writer.writerow(["name", "phone", "note"])
    writer.writerow(["Petrov, Ivan; jr", "+7 916 000-00-01", "two\nlines | here"])
    content = out.getvalue().encode()
    assert guess_plan(content).separator == separator
    (row,) = rows(content)
    assert (row.name, row.note) == ("Petrov, Ivan; jr", "two\nlines | here")


@pytest.mark.parametrize(
    ("heading", "columns"),
    [
        ("Имя;Фамилия;Отчество;Моб. телефон", ("first_name", "last_name", "middle_name", "phone")),
        ("Название;Рабочий телефон;Мобильный телефон;E-mail", ("name", "phone", "phone", "address")),
        ("First Name,Last Name,Phone Number,Email", ("first_name", "last_name", "phone", "address")),
        ("Клиент;Сайт;Этап;Комментарий", ("name", "domain", "stage", "note")),
        ("Наименование;ИНН;Тел.;Менеджер", ("name", "", "phone", "responsible")),
        ("Контакт;Контакт;Телефон", ("name", "", "phone")),
        ("full_name;work_email;company", ("name", "address", "company")),
    ],
)
def test_columns_by_their_heading(heading: str, columns: tuple[str, ...]) -> None:
    plan = guess_plan(f"{heading}\n".encode())
    assert (plan.has_heading, plan.columns) == (True, columns)


def test_columns_by_what_stands_in_them() -> None:
    content = "Петров Иван,89160000001,petrov@client.example.org\nСидорова Анна,+7 916 000-00-02,\n".encode()
    plan = guess_plan(content)
    assert (plan.has_heading, plan.columns) == (False, ("name", "phone", "address"))
    assert [one.name for one in rows(content)] == ["Петров Иван", "Сидорова Анна"]


def test_several_numbers_in_a_cell() -> None:
    content = (
        'Имя;Телефоны\nПетров;"8 916 000-00-01, 8 916 000-00-02; +7 495 000-00-03 доб. 12 / 8-916-000-00-04"\n'.encode()
    )
    (row,) = rows(content)
    assert [(str(one), label) for one, label in row.contacts] == [
        ("+79160000001", ""),
        ("+79160000002", ""),
        ("+74950000003", "ext. 12"),
        ("+79160000004", ""),
    ]


def test_what_is_no_number_is_said_and_the_rest_is_kept() -> None:
    (row,) = rows("Имя;Телефон;E-mail\nПетров;нет;petrov at client\n".encode())
    assert row.problems == ("нет is no number", "petrov at client is no address")
    assert row.contacts == ()


def test_a_company_by_itself_or_by_its_kind() -> None:
    content = (
        "Компания;Имя;Сайт;Тип\nСталь;;https://www.steel.example.org/contacts;\nДерево;;;\n;Лес;;Организация\n".encode()
    )
    steel, wood, forest = rows(content)
    assert (steel.name, steel.kind, [str(one) for one, _ in steel.contacts]) == (
        "Сталь",
        "company",
        ["steel.example.org"],
    )
    assert (wood.kind, forest.kind) == ("company", "company")


def test_the_line_is_that_of_the_file() -> None:
    content = 'Имя;Заметка\n\nПетров;"a\nb"\n;;\nСидоров;c\n'.encode()
    assert [(one.line, one.name) for one in rows(content)] == [(4, "Петров"), (6, "Сидоров")]


@pytest.mark.parametrize(
    "content",
    [b"", b"  \n ", b"\0\0\0", b"PK\3\4" + bytes(100), b"\xff\xd8" + bytes(50), b"x" * (LARGEST + 1), b"a" * 300_000],
)
def test_what_is_no_list(content: bytes) -> None:
    with pytest.raises(Unlisted):
        guess_plan(content)


@pytest.mark.parametrize(
    "content",
    [b'"never closed\n' * 2000, b";" * 100_000, b'"' * 9999, b"\xff" * 5000, b"=1+1;2\n" * 50],
)
def test_a_hostile_list_is_no_burden(content: bytes) -> None:
    plan = guess_plan(content)
    assert len(sample(content, plan)) <= 8
    for row in rows(content, plan):
        assert len(row.name) <= 200
        assert len(row.problems) <= 5


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.text(max_size=20), min_size=10, max_size=10), min_size=1, max_size=5))
def test_what_is_written_is_read_again_and_runs_nowhere(table: list[list[str]]) -> None:
    text = "".join(write_row([one.replace("\0", "") for one in row]) for row in table)
    for cells in csv.reader(io.StringIO(text), delimiter=";"):
        assert not any(one.startswith(("=", "@", "\t", "\r")) for one in cells)


def test_a_number_is_not_taken_for_a_formula() -> None:
    assert write_row(["+79160000001", "-5", "=cmd()", "@x", "+1;cmd"]) == "+79160000001;-5;'=cmd();'@x;\"'+1;cmd\"\r\n"


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=1, max_size=300))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    try:
        plan = guess_plan(content)
    except Unlisted:
        return
    assert Plan.from_json(plan.to_json()) == plan
    rows(content, plan)
