"""Raw numbers and addresses to identities that can be compared; pure.

A number is whatever a PBX, a provider or a person writes: ``8 (916) 000-00-01``, ``+7 916…``, ``sip:101@pbx``,
``tel:+7495…;ext=12``, ``anonymous``. Phones become E.164 (ITU-T E.164, written with +), short ones extensions.
Nothing here raises, whatever the text: it comes from strangers.
"""

from __future__ import annotations

import contextlib
import re
import unicodedata
from collections.abc import Mapping
from importlib.resources import files
from urllib.parse import unquote

import phonenumbers
from email_validator import EmailNotValidError, validate_email

from agent.model import Identity, IdentityKind

_URI = re.compile(r"^(?:sips?|tel):", re.IGNORECASE)
_IN_BRACKETS = re.compile(r"<([^<>]*)>")  # RFC 3261 section 20.10: "Anna 2" <sip:101@pbx>
_WITHHOLD = re.compile(r"^[*#]+\d{1,3}[*#]+(?=[+(]?\d)")  # *31# and #31# before a dialled number (3GPP TS 22.030)
_EXTENSION = re.compile(  # what is dialled after the answer: «доб. 12», ext 12, x12, ,,12, p12, w12
    r"(?<=\d)[\s().]*(?:[,;#].*|(?:доб|вн|ext|[xpw])\D*\d{1,8}\D*)$", re.IGNORECASE | re.DOTALL
)
_ADDRESS = re.compile(r"[^@\s<>,;:]+@[^@\s<>,;:]+")
_HIDDEN = re.compile(r"|anonymous|restricted|unavailable|unknown|private|withheld|hidden", re.IGNORECASE)
_LOGIN = re.compile(r"(?:sips?:)?([a-z0-9._~+!$*-]{1,64})(?:(?::[^@]*)?@([a-z0-9.:\[\]_-]{1,255}))?", re.IGNORECASE)
_SAME_MAILBOX = {  # providers that deliver several domains into one mailbox
    "googlemail.com": "gmail.com",
    "ya.ru": "yandex.ru",
    "yandex.com": "yandex.ru",
    "yandex.by": "yandex.ru",
    "yandex.kz": "yandex.ru",
    "me.com": "icloud.com",
    "mac.com": "icloud.com",
    "pm.me": "proton.me",
    "protonmail.com": "proton.me",
}
_ANONYMOUS_ON_KEYPAD = "266696687"  # how gateways that can only send digits spell "anonymous"
_LONGEST_NUMBER = 32  # E.164 has at most 15 digits; what is far longer is no number, and no index takes it
_LONGEST_EXTENSION = 8
_LONGEST_TEXT = 1000
_LONGEST_ADDRESS = 320  # 64 + @ + 255 (RFC 5321 section 4.5.3.1)


def _load_public_domains() -> frozenset[str]:
    lines = files("linker").joinpath("public_domains.txt").read_text().splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())


PUBLIC_DOMAINS = _load_public_domains()


def normalize_phone(raw: str, *, region: str, extension_digits: int, area_code: str = "") -> Identity | None:
    """An E.164 phone, or an extension for up to ``extension_digits`` digits; None for a hidden or meaningless one.

    ``region`` is the country (ISO 3166, two letters) of numbers written without +, ``area_code`` the city of those
    written without that. A number that is not valid in its
    country's plan is kept as its digits with +, so that equal ones still meet. A short code with * or # is dialled
    inside and keeps them, so that the feature *72 is not taken for extension 72.
    """
    text = _user_part(raw)
    if text[:1] in ("*", "#"):
        code = re.sub(r"[^0-9*#]", "", text)
        if _digits(code) and len(code) <= extension_digits + 2:
            return Identity(kind=IdentityKind.EXTENSION, value=code)
        text = _WITHHOLD.sub("", text)
    text = _EXTENSION.sub("", text)
    if any(one.isalpha() for one in text):
        return _lettered(text, region)
    digits = _digits(text)
    is_international = text.startswith("+")
    if not digits or len(digits) > _LONGEST_NUMBER or digits == _ANONYMOUS_ON_KEYPAD:
        return None
    if len(digits) <= extension_digits and not is_international:
        return Identity(kind=IdentityKind.EXTENSION, value=digits)
    if not digits.strip("0"):
        return None
    if area_code and not is_international and (number := _local(digits, region, area_code)):
        return Identity(kind=IdentityKind.PHONE, value=number)
    return Identity(kind=IdentityKind.PHONE, value=_e164(digits, region, is_international=is_international))


def extension_in(raw: str) -> str:
    """What is dialled after the answer, if a number is written with it: ``…00-01 доб. 12`` and ``;ext=12`` give 12."""
    text = _plain(unquote(raw[:_LONGEST_TEXT]))
    if found := re.search(r";ext=(\d{1,8})", text):
        return found[1]
    found = _EXTENSION.search(text.split("@")[0])
    digits = _digits(found[0]) if found and not found[0].lstrip().startswith(";") else ""
    return digits if len(digits) <= _LONGEST_EXTENSION else ""


def normalize_login(raw: str) -> Identity | None:
    """The account that a SIP URI names where it names no number: ``sip:Anna@pbx.example.com:5060`` is that of anna at
    pbx.example.com; None for everything else. Most are nobody's: ask whether somebody holds it."""
    text = _plain(unquote(raw[:_LONGEST_TEXT]))
    if found := _IN_BRACKETS.search(text):
        text = found[1].strip()
    match = _LOGIN.fullmatch(re.split(r"[;?]", text, maxsplit=1)[0])
    if match is None or is_hidden(match[1]) or not any(one.isalpha() for one in match[1]):
        return None
    host = re.sub(r":\d+$", "", match[2] or "")
    return Identity(kind=IdentityKind.LOGIN, value=f"{match[1]}@{host}".lower().rstrip("@"))


def is_login(raw: str) -> bool:
    """Whether a telephone source names a party by an account and not by a number."""
    return normalize_login(raw) is not None


def _local(digits: str, region: str, area_code: str) -> str:
    """A number without its city, with it; empty where the digits alone are a number already, or no number with it."""
    with contextlib.suppress(phonenumbers.NumberParseException):
        alone = phonenumbers.is_possible_number_with_reason(phonenumbers.parse(digits, region))
        whole = phonenumbers.parse(area_code + digits, region)
        possible = phonenumbers.ValidationResult.IS_POSSIBLE
        national = phonenumbers.national_significant_number(whole)
        if alone != possible and national == area_code + digits:
            return _format(whole) if phonenumbers.is_possible_number_with_reason(whole) == possible else ""
    return ""


def is_hidden(raw: str) -> bool:
    """Whether a source says by this text that the caller withheld the number."""
    text = _user_part(raw)
    digits = "".join(one for one in text if one.isdigit())
    return (
        _HIDDEN.fullmatch(text) is not None or digits == _ANONYMOUS_ON_KEYPAD or bool(digits and not digits.strip("0"))
    )


def _user_part(raw: str) -> str:
    """``"Anna" <sip:+7495…;user=phone@host>`` and ``tel:+7495…;ext=1`` to the number in them, in ASCII digits."""
    text = _plain(unquote(raw[:_LONGEST_TEXT]))
    if found := _IN_BRACKETS.search(text):
        text = found[1].strip()
    is_uri = _URI.match(text) is not None
    text = re.split(r"[@;?]", _URI.sub("", text), maxsplit=1)[0]
    if is_uri:
        text = text.split(":", 1)[0]  # the password of RFC 3261 section 19.1.1
    return text.strip()


def _plain(text: str) -> str:
    """ASCII digits and plus; no invisible characters (marks of direction and joining come along when copied)."""
    if text.isascii() and text.isprintable():
        return text.strip()
    plain = []
    for one in text:
        category = unicodedata.category(one)
        if category == "Nd":
            plain.append(str(unicodedata.decimal(one)))
        elif category not in ("Cc", "Cf", "Cs", "Co", "Cn"):
            plain.append("+" if one in "＋﹢" else one)
    return "".join(plain).strip()


def _lettered(text: str, region: str) -> Identity | None:
    """8-800-FLOWERS is a number; ``anna2`` and ``trunk`` are names and must not pass for extensions."""
    with contextlib.suppress(phonenumbers.NumberParseException):
        number = phonenumbers.parse(text, region)
        if phonenumbers.is_valid_number(number):
            return Identity(kind=IdentityKind.PHONE, value=_format(number))
    return None


def _e164(digits: str, region: str, *, is_international: bool) -> str:
    """By the country's plan, else as an international number that lacks its +, else what is at least possible there.

    00 and +00 stand for the international prefix (ITU-T E.164) whatever the country's own is. A + before what is no
    country code, as in +8 916…, is a slip. The last case keeps numbers that no plan knows (new ranges, test numbers)
    equal however they are written.
    """
    bare = digits.lstrip("0") if digits.startswith("00") else digits
    attempts: list[tuple[str, str | None]] = [(f"+{bare}", None)]
    if not is_international or not _has_country_code(bare):
        attempts.insert(0 if bare == digits and not is_international else 1, (digits, region))
    parsed = []
    for attempt, country in attempts:
        with contextlib.suppress(phonenumbers.NumberParseException):
            number = phonenumbers.parse(attempt, country)
            if phonenumbers.is_valid_number(number):
                return _format(number)
            parsed.append(number)
    possible = next((one for one in parsed if _is_possible(one)), None)
    return _format(possible) if possible is not None else f"+{digits}"


def _has_country_code(digits: str) -> bool:
    try:
        phonenumbers.parse(f"+{digits}", None)
    except phonenumbers.NumberParseException as error:
        return error.error_type != phonenumbers.NumberParseException.INVALID_COUNTRY_CODE
    return True


def _is_possible(number: phonenumbers.PhoneNumber) -> bool:
    """Long enough to be dialled from abroad (not without its city), and read back as the same number."""
    if phonenumbers.is_possible_number_with_reason(number) != phonenumbers.ValidationResult.IS_POSSIBLE:
        return False
    with contextlib.suppress(phonenumbers.NumberParseException):
        return _format(phonenumbers.parse(_format(number), None)) == _format(number)
    return False


def _digits(text: str) -> str:
    return re.sub(r"[^0-9]", "", text)


def _format(number: phonenumbers.PhoneNumber) -> str:
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def normalize_address(raw: str) -> Identity | None:
    """An e-mail address in lower case with its domain in ASCII (IDNA); None when it is none.

    What breaks the rules but still names a mailbox (``root@localhost``) is kept in lower case as it stands.
    """
    if len(raw) > _LONGEST_TEXT:
        return None
    text = raw if raw.isascii() else "".join(one for one in raw if unicodedata.category(one) != "Cf")
    text = text.strip().rstrip(".")
    if not text.isprintable():
        return None
    try:
        checked = validate_email(text, check_deliverability=False, allow_quoted_local=True, allow_domain_literal=True)
        text = f"{checked.local_part}@{checked.ascii_domain or checked.domain}"
    except EmailNotValidError:
        if _ADDRESS.fullmatch(text) is None:
            return None
    text = unicodedata.normalize("NFC", text.lower())
    return Identity(kind=IdentityKind.ADDRESS, value=text) if len(text) <= _LONGEST_ADDRESS else None


def without_tag(identity: Identity) -> Identity:
    """``anna+shop@example.com`` is delivered to anna@example.com (RFC 5233); all else is what it was."""
    local, _, domain = identity.value.rpartition("@")
    base = local.partition("+")[0]
    if identity.kind is not IdentityKind.ADDRESS or not base or local.startswith('"'):
        return identity
    return Identity(kind=IdentityKind.ADDRESS, value=f"{base}@{domain}")


def same_mailbox(
    address: Identity, *, ignore_gmail_dots: bool = False, same_domains: Mapping[str, str] | None = None
) -> Identity:
    """One address of all that lead into one mailbox: by the domains that a provider, or the company named in the
    settings, has for it, and by the dots that Google does not look at."""
    local, _, domain = address.value.rpartition("@")
    domain = (same_domains or {}).get(domain, domain)
    domain = _SAME_MAILBOX.get(domain, domain)
    if ignore_gmail_dots and domain == "gmail.com" and not local.startswith('"'):
        local = local.replace(".", "") or local
    return Identity(kind=IdentityKind.ADDRESS, value=f"{local}@{domain}")


def company_domain(address: Identity) -> Identity | None:
    """The domain of an address as an identity of a company; None at a public provider."""
    domain = address.value.rpartition("@")[2]
    return None if domain in PUBLIC_DOMAINS else Identity(kind=IdentityKind.DOMAIN, value=domain)
