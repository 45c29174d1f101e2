"""Raw numbers and addresses: tables of what is really written, and properties that hold for any text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.model import Identity, IdentityKind
from linker.normalize import PUBLIC_DOMAINS, company_domain, is_hidden, normalize_address, normalize_phone

TABLE = Path(__file__).parent.parent / "scenarios" / "numbers.txt"
REGIONS = st.sampled_from(["RU", "KZ", "DE", "US", "IT", "GB", "AR", "BR", "FI"])
NUMBERLIKE = st.text("0123456789+ -()*#.,;xpw@:%<>доб/~８٣²", max_size=25)
FORMATTING = " -().\u00a0\u2009\u2011\u200b\u202a"


def read_table() -> list[tuple[str, str]]:
    rows = []
    for line in TABLE.read_text().splitlines():
        if line and not line.startswith("# "):
            raw, separator, wanted = line.rpartition("=> ")
            assert separator, line
            escaped = re.sub(
                r"\\(?:u([0-9a-f]{4})|x([0-9a-f]{2})|t)",
                lambda found: chr(int(found[1] or found[2], 16)) if found[1] or found[2] else "\t",
                raw[:-1],
            )
            rows.append((escaped, wanted))
    return rows


ROWS = read_table()


def phone(raw: str, region: str = "RU") -> Identity | None:
    return normalize_phone(raw, region=region, extension_digits=5)


def test_the_table_is_long_enough() -> None:
    assert len(ROWS) >= 80


@pytest.mark.parametrize(("raw", "wanted"), ROWS, ids=[ascii(raw) for raw, _ in ROWS])
def test_number(raw: str, wanted: str) -> None:
    found = phone(raw)
    if wanted == "-":
        assert found is None
    else:
        kind = IdentityKind.PHONE if wanted.startswith("+") else IdentityKind.EXTENSION
        assert found == Identity(kind=kind, value=wanted)


@pytest.mark.parametrize(
    ("raw", "region", "wanted"),
    [
        ("030 12345", "DE", "+493012345"),
        ("0049 30 12345", "DE", "+493012345"),
        ("(212) 555-0123", "US", "+12125550123"),
        ("011 49 30 12345", "US", "+493012345"),
        ("06 1234 5678", "IT", "+390612345678"),  # Italy keeps its zero
        ("8 701 123 45 67", "KZ", "+77011234567"),
        ("+7 916 000 00 01", "US", "+79160000001"),
    ],
)
def test_number_of_another_country(raw: str, region: str, wanted: str) -> None:
    assert str(phone(raw, region)) == wanted


@pytest.mark.parametrize(("digits", "kind"), [(3, IdentityKind.PHONE), (4, IdentityKind.EXTENSION)])
def test_the_installation_says_how_long_extensions_are(digits: int, kind: IdentityKind) -> None:
    found = normalize_phone("1234", region="RU", extension_digits=digits)
    assert found is not None
    assert found.kind is kind


@pytest.mark.parametrize("raw", ["9" * 100_000, "+" + "9" * 33, "8 (" * 5000, "1x" * 5000, "1,  " * 9000, "<" * 9999])
def test_what_is_far_too_long_is_no_number_and_no_burden(raw: str) -> None:
    found = phone(raw)
    assert found is None or len(found.value) <= 33


@pytest.mark.parametrize("raw", ["", "  ", "Anonymous", "sip:anonymous@anonymous.invalid", "withheld", "00000000"])
def test_withheld_is_told_from_meaningless(raw: str) -> None:
    assert is_hidden(raw)
    assert not is_hidden("anna")
    assert not is_hidden("+74950000001")


@settings(max_examples=400, deadline=None)
@given(st.one_of(NUMBERLIKE, st.text(max_size=40), st.from_regex(r"\+?[0-9]{1,20}", fullmatch=True)), REGIONS)
def test_a_normalised_number_stays_as_it_is(raw: str, region: str) -> None:
    found = phone(raw, region)
    if found is not None:
        assert phone(found.value, region) == found
        assert found.value.isascii()
        assert len(found.value) <= 33


@settings(max_examples=300, deadline=None)
@given(st.from_regex(r"\+?[0-9]{1,15}", fullmatch=True), st.data())
def test_formatting_never_matters(raw: str, data: st.DataObject) -> None:
    dressed = "".join(one + data.draw(st.text(FORMATTING, max_size=2)) for one in raw)
    assert phone(dressed) == phone(raw)


@settings(max_examples=200, deadline=None)
@given(st.from_regex(r"9[0-9]{9}", fullmatch=True))
def test_all_russian_forms_of_a_mobile_meet(number: str) -> None:
    forms = [f"+7{number}", f"7{number}", f"8{number}", number, f"8 ({number[:3]}) {number[3:]}", f"sip:+7{number}@x"]
    assert {str(phone(one)) for one in forms} == {f"+7{number}"}


ADDRESSES = [
    ("anna@example.com", "anna@example.com"),
    ("Anna@Example.COM", "anna@example.com"),
    ("  anna@example.com\r\n", "anna@example.com"),
    ("anna@example.com.", "anna@example.com"),
    ("anna@example.com..", "anna@example.com"),
    ("anna@пример.рф", "anna@xn--e1afmkfd.xn--p1ai"),
    ("anna@XN--E1AFMKFD.xn--p1ai", "anna@xn--e1afmkfd.xn--p1ai"),
    ("АННА@Пример.РФ", "анна@xn--e1afmkfd.xn--p1ai"),
    ("cafe\u0301@example.com", "caf\u00e9@example.com"),
    ("anna@ｅxample.com", "anna@example.com"),
    ("anna@straße.de", "anna@xn--strae-oqa.de"),
    ("\u202eanna\u200b@example.com\ufeff", "anna@example.com"),
    ("anna@exa\u00admple.com", "anna@example.com"),
    ("anna+crm@example.com", "anna+crm@example.com"),
    ("o'brien@example.com", "o'brien@example.com"),
    ("Anna..Smith@example.com", "anna..smith@example.com"),
    (".anna@example.com", ".anna@example.com"),
    ('"Anna"@example.com', "anna@example.com"),
    ('"anna smith"@example.com', '"anna smith"@example.com'),
    ('"a@b"@example.com', '"a@b"@example.com'),
    ("root@localhost", "root@localhost"),
    ("anna@example.invalid", "anna@example.invalid"),
    ("anna@[192.0.2.1]", "anna@[192.0.2.1]"),
    ("anna@[IPv6:2001:db8::1]", "anna@[ipv6:2001:db8::1]"),
    ("a" * 65 + "@example.com", "a" * 65 + "@example.com"),
    ("Anna <anna@example.com>", None),
    ("<anna@example.com>", None),
    ("anna@example.com (Anna)", None),
    ("anna@example.com, boris@example.com", None),
    ("anna@example.com;", None),
    ("mailto:anna@example.com", None),
    ("undisclosed-recipients:;", None),
    ("a b@example.com", None),
    ("anna@exam ple.com", None),
    ("anna", None),
    ("anna@", None),
    ("@example.com", None),
    ("anna@@example.com", None),
    ("", None),
    ("@", None),
    ("an\x00na@example.com", None),
    ("anna@example.com\x00", None),
    ("anna\n@example.com", None),
    ("anna@example.com\ud800", None),
    ("a" * 400 + "@example.com", None),
    ("a" * 1_000_000 + "@example.com", None),
    ("a@" * 100_000, None),
]


@pytest.mark.parametrize(("raw", "wanted"), ADDRESSES, ids=[ascii(raw[:40]) for raw, _ in ADDRESSES])
def test_address(raw: str, wanted: str | None) -> None:
    found = normalize_address(raw)
    assert (found.value if found else None) == wanted


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.text(max_size=40), st.emails(), st.from_regex(r"[\wİßK.\"\u0301]{1,8}@[\wПß.Ⅷ-]{1,10}", fullmatch=True)
    )
)
def test_a_normalised_address_stays_as_it_is(raw: str) -> None:
    found = normalize_address(raw)
    if found is not None:
        assert normalize_address(found.value) == found
        assert len(found.value) <= 320
        found.value.encode()  # a database takes it


@pytest.mark.parametrize("domain", ["gmail.com", "mail.ru", "yandex.ru", "Yandex.RU", "mail.ru.", "outlook.com"])
def test_a_public_provider_is_no_company(domain: str) -> None:
    address = normalize_address(f"anna@{domain}")
    assert address is not None
    assert company_domain(address) is None


@pytest.mark.parametrize(
    ("raw", "domain"),
    [
        ("anna@Steel.Example.org", "steel.example.org"),
        ("anna@пример.рф", "xn--e1afmkfd.xn--p1ai"),
        ('"a@mail.ru"@example.com', "example.com"),
        ("anna@mail.ru.example.com", "mail.ru.example.com"),
        ("anna@notmail.ru", "notmail.ru"),
    ],
)
def test_a_company_by_its_domain(raw: str, domain: str) -> None:
    address = normalize_address(raw)
    assert address is not None
    assert company_domain(address) == Identity(kind=IdentityKind.DOMAIN, value=domain)


def test_public_domains_are_written_as_normalised_domains_are() -> None:
    assert PUBLIC_DOMAINS
    for domain in PUBLIC_DOMAINS:
        assert str(normalize_address(f"anna@{domain}")) == f"anna@{domain}"
