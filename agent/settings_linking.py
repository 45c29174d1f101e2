"""Settings of linking and cards; `agent.settings` has them all together."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from agent.settings_base import Section


class LinkingSettings(Section):
    """How numbers and addresses are understood, and what becomes of unknown ones."""

    area_code: str = Field(
        "", description="Area code of local numbers, for example 495: seven digits are then a number of that city."
    )
    ignore_gmail_dots: bool = Field(
        False, description="i.petrov@gmail.com and ipetrov@gmail.com are one, as they are for Google."
    )
    same_domains: tuple[tuple[str, ...], ...] = Field(
        (), description='Domains of one company that has several: [["example.com", "example.org"]]; the first is kept.'
    )
    unknown_calls: Literal["propose", "create", "ignore"] = Field(
        "propose", description="Unknown numbers: wait to be sorted, become cards, or are ignored; lines may differ."
    )
    unknown_mails: Literal["propose", "create", "ignore"] = Field(
        "propose", description="The same for unknown addresses; mailboxes may differ."
    )
    stages: tuple[str, ...] = Field(
        (), description="Stages of a client that cards offer, in order; a card may have another one."
    )

    @field_validator("area_code")
    @classmethod
    def _digits(cls, value: str) -> str:
        if value and not (value.isascii() and value.isdigit() and len(value) <= 5):
            raise ValueError("digits only, without the trunk prefix, for example 495")
        return value

    @field_validator("same_domains")
    @classmethod
    def _lower(cls, value: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(one.strip().lower().lstrip("@") for one in group) for group in value)
