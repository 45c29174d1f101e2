"""Numbers and addresses as this installation understands them: by its country, area code, extensions and domains."""

from __future__ import annotations

from functools import lru_cache

from agent.model import Identity, IdentityKind
from agent.settings import Settings
from agent.store.interactions import Party
from linker.normalize import normalize_address, normalize_login, normalize_phone, same_mailbox

_LONGEST_REMEMBERED = 64  # characters of a number; what is longer is no number, and would fill the memory


class Reader:
    """Raw text of sources and people to identities."""

    def __init__(self, settings: Settings) -> None:
        linking = settings.linking
        self.region = settings.region
        self._by = (settings.region, settings.extension_digits, linking.area_code)
        self._ignore_gmail_dots = linking.ignore_gmail_dots
        self._same_domains = {other: group[0] for group in linking.same_domains for other in group[1:]}

    def identity_of(self, party: Party) -> Identity | None:
        """The normalised identity of a party, None for a hidden or meaningless one."""
        if party.kind is IdentityKind.ADDRESS:
            return self.address(party.value)
        found = self.phone(party.value)
        return None if found is not None and found.kind is IdentityKind.LOGIN else found

    def address(self, raw: str) -> Identity | None:
        """An e-mail address, the one of all that lead into its mailbox."""
        found = _remembered_address(raw) if len(raw) <= _LONGEST_REMEMBERED else normalize_address(raw)
        if found is None:
            return None
        return same_mailbox(found, ignore_gmail_dots=self._ignore_gmail_dots, same_domains=self._same_domains)

    def phone(self, raw: str) -> Identity | None:
        """A number by this installation's region, area code and length of extensions, or the account of a SIP URI."""
        found = _remembered(raw, *self._by) if len(raw) <= _LONGEST_REMEMBERED else _phone(raw, *self._by)
        if found is None and raw.strip().lower().startswith(("sip:", "sips:")):
            return normalize_login(raw)
        return found

    def identity(self, raw: str) -> Identity | None:
        """Whatever a person types: a number, an address, or @example.com for all at a domain."""
        text = raw.strip()
        if text.startswith("@") and (found := normalize_address(f"anybody{text}")) is not None:
            return Identity(kind=IdentityKind.DOMAIN, value=found.value.partition("@")[2])
        is_uri = text.lower().startswith(("sip:", "sips:", "tel:"))
        return self.address(text) if "@" in text and not is_uri else self.phone(text)


def _phone(raw: str, region: str, extension_digits: int, area_code: str) -> Identity | None:
    return normalize_phone(raw, region=region, extension_digits=extension_digits, area_code=area_code)


_remembered = lru_cache(maxsize=20_000)(_phone)
_remembered_address = lru_cache(maxsize=20_000)(normalize_address)
