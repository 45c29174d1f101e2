"""The pure parts of linking: names, signatures, logins, extensions, local numbers, mailboxes; and what always holds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.model import Identity, IdentityKind
from agent.settings import Settings
from agent.settings_linking import LinkingSettings
from linker.names import is_same_name, name_key
from linker.normalize import (
    company_domain,
    extension_in,
    is_login,
    normalize_address,
    normalize_login,
    normalize_phone,
    same_mailbox,
    without_tag,
)
from linker.reading import Reader
from linker.roles import FLAG_PATTERNS, is_flag_of_ours, widened
from linker.signatures import contacts_in


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Иван Петров", "Петров Иван"),
        ("Иван Петров", "Ivan Petrov"),
        ("Петров Иван Сергеевич", "Иван Петров"),
        ("И. Петров", "Петров Иван"),
        ("г-н Иван Петров", "Иван Петров"),
        ("ООО «Ромашка»", "Ромашка"),
        ("ЗАО Ромашка", "romashka llc"),
        ("Пётр Смирнов", "Petr Smirnov"),
        ("Щукина Юлия", "Schukina Yulia"),
        ("Хакимов Рустам", "Khakimov Rustam"),
        ("  ИВАН   ПЕТРОВ ", "иван петров"),
        ("José García", "Jose Garcia"),
        ("Юрий Цой", "Yuriy Tsoy"),
    ],
)
def test_one_name_in_many_dresses(one: str, other: str) -> None:
    assert is_same_name(one, other)
    assert is_same_name(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Иван Петров", "Пётр Иванов"),
        ("Иван", "Иван Петров"),
        ("Петров", "Петрова"),
        ("И. П.", "Иван Петров"),
        ("", "Иван Петров"),
        ("", ""),
        ("101", "102"),
        ("ООО", "Иван Петров"),
        ("Иван Петров", "Мария Петрова"),
    ],
)
def test_names_that_are_two(one: str, other: str) -> None:
    assert not is_same_name(one, other)
    assert not is_same_name(other, one)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60), st.text(max_size=60))
def test_names_never_break_and_are_symmetric(one: str, other: str) -> None:
    assert is_same_name(one, other) == is_same_name(other, one)
    assert name_key(one) == name_key(f"  {one.upper()}".lower()) or not one.isascii()


@pytest.mark.parametrize(
    ("raw", "login"),
    [
        ("sip:anna@pbx.example.com", "anna@pbx.example.com"),
        ("sip:Anna@PBX.example.com:5060;transport=udp", "anna@pbx.example.com"),
        ("<sip:anna@pbx.example.com>;tag=1", "anna@pbx.example.com"),
        ('"Anna" <sips:anna@pbx.example.com>', "anna@pbx.example.com"),
        ("sip:anna", "anna"),
        ("anna", "anna"),
        ("sip:anna:secret@pbx", "anna@pbx"),
        ("sip:anna%2Eb@pbx", "anna.b@pbx"),
        ("sip:anna@[2001:db8::1]:5060", "anna@[2001:db8::1]"),
        ("trunk7@192.0.2.1", "trunk7@192.0.2.1"),
        ("sip:101@pbx.example.com", None),
        ("sip:anonymous@anonymous.invalid", None),
        ("restricted", None),
        ("номер скрыт", None),
        ("two words", None),
        ("PJSIP/101-00000012", None),
        ("urn:service:sos", None),
        ("", None),
        ("sip:@", None),
        ("a" * 65, None),
        ("a" * 100_000, None),
        ("sip:" + "a@" * 50_000, None),
    ],
)
def test_login(raw: str, login: str | None) -> None:
    found = normalize_login(raw)
    assert (found.value if found else None) == login
    assert is_login(raw) == (login is not None)


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.text(max_size=40), st.from_regex(r"(sips?:)?[a-z0-9._-]{1,10}(@[a-z0-9.:\[\]]{1,20})?", fullmatch=True)
    )
)
def test_a_login_stays_as_it_is(raw: str) -> None:
    found = normalize_login(raw)
    if found is not None:
        assert normalize_login(found.value) == found
        assert found.value == found.value.lower()


@pytest.mark.parametrize(
    ("raw", "extension"),
    [
        ("+7 495 000-00-01 доб. 12", "12"),
        ("+7 495 000-00-01 (доб. 123)", "123"),
        ("+7 495 000-00-01 вн.12", "12"),
        ("+74950000001x12", "12"),
        ("+74950000001 ext. 12", "12"),
        ("+74950000001,,12#", "12"),
        ("tel:+74950000001;ext=12", "12"),
        ("+74950000001", ""),
        ("101", ""),
        ("8 916 000-00-01, 8 916 000-00-02", ""),
        ("", ""),
    ],
)
def test_what_is_dialled_after_the_answer(raw: str, extension: str) -> None:
    assert extension_in(raw) == extension


@pytest.mark.parametrize(
    ("raw", "area_code", "wanted"),
    [
        ("000-00-01", "495", "+74950000001"),
        ("0000001", "495", "+74950000001"),
        ("12-34-56", "8442", "+78442123456"),
        ("123456", "495", "+123456"),
        ("9160000001", "495", "+79160000001"),
        ("89160000001", "495", "+79160000001"),
        ("+0000001", "495", "+0000001"),
        ("12345", "84422", "12345"),
        ("0000001", "", "+0000001"),
    ],
)
def test_a_number_without_its_city(raw: str, area_code: str, wanted: str) -> None:
    assert str(normalize_phone(raw, region="RU", extension_digits=5, area_code=area_code)) == wanted


@settings(max_examples=300, deadline=None)
@given(st.from_regex(r"\+?[0-9]{1,15}", fullmatch=True), st.sampled_from(["", "495", "812", "8442", "84422"]))
def test_a_number_stays_as_it_is_whatever_the_city(raw: str, area_code: str) -> None:
    found = normalize_phone(raw, region="RU", extension_digits=5, area_code=area_code)
    if found is not None:
        assert normalize_phone(found.value, region="RU", extension_digits=5, area_code=area_code) == found


@settings(max_examples=200, deadline=None)
@given(st.from_regex(r"[2-7][0-9]{6}", fullmatch=True))
def test_a_local_number_is_that_of_the_city(digits: str) -> None:
    forms = [digits, f"{digits[:3]}-{digits[3:5]}-{digits[5:]}", f"8495{digits}", f"+7 (495) {digits}", f"495{digits}"]
    assert {str(normalize_phone(one, region="RU", extension_digits=5, area_code="495")) for one in forms} == {
        f"+7495{digits}"
    }


def address(value: str) -> Identity:
    found = normalize_address(value)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        ("ivan@googlemail.com", "ivan@gmail.com"),
        ("i.v.an@gmail.com", "ivan@gmail.com"),
        ("i.v.an+x@googlemail.com", "ivan+x@gmail.com"),
        ("ivan@ya.ru", "ivan@yandex.ru"),
        ("i.van@ya.ru", "i.van@yandex.ru"),
        ("ivan@me.com", "ivan@icloud.com"),
        ("ivan@protonmail.com", "ivan@proton.me"),
        ("ivan@mail.ru", "ivan@mail.ru"),
        ("ivan@old.example.org", "ivan@example.org"),
    ],
)
def test_one_mailbox_with_many_addresses(raw: str, wanted: str) -> None:
    domains = {"old.example.org": "example.org"}
    found = same_mailbox(address(raw), ignore_gmail_dots=True, same_domains=domains)
    assert found.value == wanted


@settings(max_examples=300, deadline=None)
@given(st.emails())
def test_the_one_mailbox_is_the_one_of_itself(raw: str) -> None:
    found = same_mailbox(address(raw), ignore_gmail_dots=True)
    assert same_mailbox(found, ignore_gmail_dots=True) == found
    assert widened(found)[0] == found
    assert without_tag(without_tag(found)) == without_tag(found)
    assert (company_domain(found) is None) or company_domain(found) in widened(found)


READER = Reader(Settings(linking=LinkingSettings(area_code="495")))


@pytest.mark.parametrize(
    ("typed", "kind", "value"),
    [
        ("8 916 000-00-01", IdentityKind.PHONE, "+79160000001"),
        ("000-00-01", IdentityKind.PHONE, "+74950000001"),
        ("101", IdentityKind.EXTENSION, "101"),
        ("Ivan@Example.com", IdentityKind.ADDRESS, "ivan@example.com"),
        ("@Example.com", IdentityKind.DOMAIN, "example.com"),
        ("@пример.рф", IdentityKind.DOMAIN, "xn--e1afmkfd.xn--p1ai"),
        ("sip:anna@pbx.example.com", IdentityKind.LOGIN, "anna@pbx.example.com"),
        ("sip:89160000001@pbx.example.com", IdentityKind.PHONE, "+79160000001"),
        ("tel:+7-916-000-00-01", IdentityKind.PHONE, "+79160000001"),
        ("anna", None, ""),
        ("", None, ""),
        ("@", None, ""),
        ("@@", None, ""),
        ("a b@c", None, ""),
    ],
)
def test_what_a_person_types(typed: str, kind: IdentityKind | None, value: str) -> None:
    found = READER.identity(typed)
    assert (found.kind if found else None, found.value if found else "") == (kind, value)


SIGNATURE = """С уважением,
Иван Петров, менеджер
ООО «Ромашка», ИНН 7707083893, ОГРН 1027700132195
р/с 40702810900000000001
тел.: +7 (495) 123-45-67 доб. 12
моб. 8 916 123-45-67
факс: +7 495 123-45-68
e-mail: Petrov@client.example.org, www.client.example.org
"""


def test_a_signature_offers_what_reaches_its_owner() -> None:
    found = [(one.raw, one.label) for one in contacts_in(SIGNATURE, region="RU")]
    assert found == [
        ("+74951234567", "work ext. 12"),
        ("+79161234567", "mobile"),
        ("petrov@client.example.org", ""),
    ]


@pytest.mark.parametrize("text", ["", "--", "Отправлено с iPhone", "ИНН 7707083893", "заказ № 123456 от 01.02.2026"])
def test_a_signature_without_contacts(text: str) -> None:
    assert contacts_in(text, region="RU") == []


@pytest.mark.parametrize("text", ["8 916 " * 5000, "a@" * 5000, "+" * 9000, "(" * 9000, "1-" * 5000, "\ud800 8 916"])
def test_a_hostile_signature_is_no_burden(text: str) -> None:
    assert len(contacts_in(text, region="RU")) <= 6


def test_flags_are_known_by_their_patterns() -> None:
    for pattern in FLAG_PATTERNS:
        assert is_flag_of_ours(pattern.replace("%", "x"))
    assert not is_flag_of_ours("the metadata was broken")
    assert is_flag_of_ours("extension 1\n2 belongs to no employee")
