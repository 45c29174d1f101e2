"""Settings of CRMs; `agent.settings` has them all together."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from agent.settings_base import Section

CrmKind = Literal["amocrm", "bitrix24", "bluesales", "onec", "tryton"]


class CrmSettings(Section):
    """One CRM that is told of calls and mails, and whose cards are known here."""

    name: str = Field(
        pattern="^[a-z0-9][a-z0-9-]{0,31}$", description="Name in pages and logs: small letters, digits, hyphens."
    )
    kind: CrmKind = Field(description="Which CRM it is.")
    url: str = Field(description="Its address: https://…; docs/crm says which one for each CRM.")
    user: str = Field("", description="Login name or application id, where the CRM wants one.")
    password: SecretStr = Field(SecretStr(""), description="Password, where the CRM wants one.")
    key: SecretStr = Field(SecretStr(""), description="Key or long-lived token of the API.")
    client_id: str = Field("", description="Id of your application, for OAuth2.")
    client_secret: SecretStr = Field(SecretStr(""), description="Its secret.")
    deliver: bool = Field(True, description="Tell it of calls and mails; false: only read cards and deals.")
    calls: bool = Field(True, description="Tell it of calls.")
    mails: bool = Field(True, description="Tell it of mails.")
    mail_text: bool = Field(True, description="With a mail's words; false: only who, when and the subject.")
    recordings: Literal["auto", "upload", "link", "none"] = Field(
        "auto", description="Recordings: uploaded where the CRM stores them, else a link; or always one of these."
    )
    transcripts: bool = Field(True, description="Tell it what was said.")
    enrich: bool = Field(
        False, description="Another integration logs calls or mails there: add only what is missing, never a double."
    )
    enrich_wait_seconds: int = Field(
        120, ge=0, le=3600, description="How long after the end the other integration is waited for, with enrich."
    )
    create_cards: bool = Field(False, description="Make a card over there for one that is only here.")
    read: bool = Field(True, description="Read its cards, stages and deals.")
    read_minutes: float = Field(2, gt=0, le=1440, description="How often changes are read.")
    default_user: str = Field("", description="Id of the CRM's user for employees who have none there; empty: nobody.")
    language: Literal["ru", "en"] = Field("ru", description="Language of titles written into the CRM.")
    timezone: str = Field("Europe/Moscow", description="Zone of times in a CRM that knows none.")
    options: dict[str, str] = Field(
        default_factory=dict, description="What only this kind of CRM has, such as names of objects and fields in 1C."
    )

    @field_validator("url")
    @classmethod
    def _address(cls, value: str) -> str:
        if not value.startswith(("https://", "http://")):
            raise ValueError("it must begin with https://")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.deliver and not self.read:
            raise ValueError("deliver and read are both false: nothing is left to do")
        return self
