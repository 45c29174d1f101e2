"""Telephone numbers as people write them."""

from __future__ import annotations

import re
from functools import lru_cache

import phonenumbers

_NUMBER = re.compile(r"(?<![\w+@])\+\d{8,15}(?![\w@])")  # E.164


@lru_cache(maxsize=16384)  # to read a number costs more than anything else about it
def phone(value: str) -> str:
    """+7 495 000-00-01; what is no number of any plan stays as it is."""
    try:
        number = phonenumbers.parse(value, None)
    except phonenumbers.NumberParseException:
        return value
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.INTERNATIONAL)


def phones_within(text: str) -> str:
    """The same for numbers that stand in a sentence; addresses are left alone."""
    return _NUMBER.sub(lambda found: phone(found[0]), text)
