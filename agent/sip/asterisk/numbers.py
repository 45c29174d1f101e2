"""Whose phone a channel is: an extension of ours, or a number outside. Pure.

Asterisk names a channel after its endpoint and gives it a caller id that dialplans change freely, so neither alone can
be trusted: what is written here is how the two, and what was dialled, agree in plain Asterisk and in FreePBX.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from agent.sip.asterisk.channels import Channel, endpoint

HIDDEN = "anonymous"
_TECHNOLOGY = re.compile(r"^(?:PJSIP|SIP|IAX2|DAHDI|Local|Motif|SCCP)/", re.IGNORECASE)
_CONTACT = re.compile(r"/sips?:.*$", re.IGNORECASE)  # PJSIP/101/sip:101@192.0.2.5:5060 rings one device of 101
_NUMBER = re.compile(r"\+?[0-9*#]{1,40}")
_COMPARED = 7  # digits at the end by which two spellings of a number are recognised


def split_dialled(dialstring: str) -> tuple[str, str]:
    """Endpoint and number of a dial string: ``79161234567@trunk``, ``trunk/79161234567`` or just ``101``.

    The number is empty where the endpoint itself was called.
    """
    text = _CONTACT.sub("", _TECHNOLOGY.sub("", dialstring))
    number, at, name = text.partition("@")
    if at:
        return name.partition("/")[0], number if _NUMBER.fullmatch(number) else ""
    name, _, number = text.partition("/")
    return name, number if _NUMBER.fullmatch(number) else ""


def is_extension(number: str, digits: int) -> bool:
    """Whether a number is dialled inside: not more than so many digits, and no +."""
    return number.isascii() and number.isdecimal() and len(number) <= digits


def own_number(channel: Channel, *, dialled: str, did: str, trunks: Collection[str], digits: int) -> str:
    """The number of whoever is at the far end of a channel; `HIDDEN` where nobody says it.

    ``dialled`` is the dial string by which the PBX called it, empty where it called the PBX; ``did`` is what the other
    side had dialled, which stands in for the caller id of a phone that has none of its own.
    """
    told = channel.number[1] if channel.number else ""
    name = endpoint(channel.name)
    _, outside = split_dialled(dialled)
    if outside:
        return _agreed(told, outside)
    if is_extension(told, digits):
        return told
    if is_extension(name, digits) and name not in trunks:
        return name
    if dialled and (told == did or not told):
        return name or HIDDEN
    return told or HIDDEN


def _agreed(told: str, dialled: str) -> str:
    """Of two spellings of one number the international one; what only the trunk's prefixes make longer is left."""
    if told.startswith("+") and told[-_COMPARED:] == dialled[-_COMPARED:]:
        return told
    return dialled
