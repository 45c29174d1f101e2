"""Raw numbers and addresses to identities that can be compared; pure.

A number is whatever a PBX, a provider or a person writes: ``8 (916) 000-00-01``, ``+7 916…``, ``sip:101@pbx``,
``tel:+7495…;ext=12``, ``anonymous``. Phones become E.164 (ITU-T E.164, written with +), short ones extensions.
"""

from __future__ import annotations

import contextlib
import re
from importlib.resources import files
from urllib.parse import unquote

import phonenumbers
from email_validator import EmailNotValidError, validate_email

from agent.model import Identity, IdentityKind

_URI = re.compile(r"^(?:sips?|tel):", re.IGNORECASE)
_ADDRESS = re.compile(r"[^@\s<>,;:]+@[^@\s<>,;:]+")
_ANONYMOUS = frozenset({"", "anonymous", "restricted", "unavailable", "unknown", "private", "withheld"})


def _load_public_domains() -> frozenset[str]:
    lines = files("linker").joinpath("public_domains.txt").read_text().splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())


PUBLIC_DOMAINS = _load_public_domains()


def normalize_phone(raw: str, *, region: str, extension_digits: int) -> Identity | None:
    """An E.164 phone, or an extension for up to ``extension_digits`` digits; None for a hidden number.

    ``region`` is the country (ISO 3166, two letters) of numbers written without +. A number that is not valid in its
    country's plan is kept as its digits with +, so that equal ones still meet.
    """
    text = _user_part(raw)
    if text.lower() in _ANONYMOUS:
        return None
    digits = re.sub(r"\D", "", text)
    if not digits:
        return None
    if len(digits) <= extension_digits and not text.startswith("+"):
        return Identity(kind=IdentityKind.EXTENSION, value=digits)
    return Identity(kind=IdentityKind.PHONE, value=_e164(text, digits, region))


def _user_part(raw: str) -> str:
    """``sip:+7495…;user=phone@host`` and ``tel:+7495…;ext=1`` to the number in them."""
    text = unquote(raw.strip())
    text = _URI.sub("", text)
    return text.split("@", 1)[0].split(";", 1)[0].strip()


def _e164(text: str, digits: str, region: str) -> str:
    """By the country's plan, else as an international number that lacks its +, else what is at least possible there.

    The last case keeps numbers that no plan knows (new ranges, test numbers) equal however they are written.
    """
    parsed = []
    for attempt, country in ((text, region), (f"+{digits}", None)):
        with contextlib.suppress(phonenumbers.NumberParseException):
            parsed.append(phonenumbers.parse(attempt, country))
    for accepts in (phonenumbers.is_valid_number, phonenumbers.is_possible_number):
        for number in parsed:
            if accepts(number):
                return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return f"+{digits}"


def normalize_address(raw: str) -> Identity | None:
    """An e-mail address in lower case with its domain in ASCII (IDNA); None when it is none.

    What breaks the rules but still names a mailbox (``root@localhost``) is kept in lower case as it stands.
    """
    text = raw.strip()
    try:
        checked = validate_email(text, check_deliverability=False)
        text = f"{checked.local_part}@{checked.ascii_domain or checked.domain}"
    except EmailNotValidError:
        if _ADDRESS.fullmatch(text) is None:
            return None
    return Identity(kind=IdentityKind.ADDRESS, value=text.lower())


def company_domain(address: Identity) -> Identity | None:
    """The domain of an address as an identity of a company; None at a public provider."""
    domain = address.value.rpartition("@")[2]
    return None if domain in PUBLIC_DOMAINS else Identity(kind=IdentityKind.DOMAIN, value=domain)
