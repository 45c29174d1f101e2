"""All settings: name, default and help of each, from ``cardline.toml`` and ``CARDLINE_*`` variables.

A variable overrides the file; nested names are joined by two underscores (``CARDLINE_WEB__PORT=8080``). A wrong value
ends the start with the setting's name, what is wrong and what would be right; nothing is guessed.
"""

from __future__ import annotations

import os
import re
import socket
from contextvars import ContextVar
from datetime import date
from pathlib import Path
from typing import Any, Literal, Self, get_args

import phonenumbers
from pydantic import (
    BaseModel,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from agent.errors import Misconfigured
from agent.settings_asterisk import AsteriskSettings
from agent.settings_base import Networks, Port, Section
from agent.settings_crm import CrmSettings
from agent.settings_lines import SipSettings
from agent.settings_linking import LinkingSettings
from agent.settings_oidc import OidcSettings
from agent.settings_providers import ProviderSettings
from agent.settings_recordings import RecordingsSettings
from agent.settings_seal import SealSettings
from agent.settings_smtp import SmtpSettings
from agent.settings_transcribe import TranscribeSettings as TranscribeSettings

_CODE = re.compile("[0-9*#A-D]{2,8}")
_BUCKETS = ("s3://", "gs://", "az://")


class DatabaseSettings(Section):
    """Where the rows live."""

    url: SecretStr = Field(
        SecretStr(""),
        description="PostgreSQL 16 or newer, postgresql://user:password@host/name; empty: an embedded one is run.",
    )
    run_as: str = Field(
        "",
        description="User for the embedded PostgreSQL when Cardline itself runs as root; empty: cardline or nobody.",
    )

    @field_validator("url")
    @classmethod
    def _postgresql(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value() and not value.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("it must begin with postgresql://")
        return value


class ArchiveSettings(Section):
    """Where sealed recordings and mails live."""

    url: str = Field(
        "",
        description="s3://, gs:// or az:// bucket and prefix; empty: the folder blobs of the data directory.",
    )

    @field_validator("url")
    @classmethod
    def _bucket(cls, value: str) -> str:
        if value and not value.startswith(_BUCKETS):
            raise ValueError(f"it must begin with {', '.join(_BUCKETS)}")
        return value


class JobSettings(Section):
    """Which durable work this machine does."""

    general: bool = Field(True, description="Run parse, link and assemble jobs on this machine.")
    speech: bool = Field(True, description="Run transcription on this machine.")
    crm: bool = Field(True, description="Speak to CRMs from this machine.")
    queues: tuple[Literal["parse", "words", "index", "link", "host"], ...] = Field(
        (), description="Work on these queues only (parse, words, index, link, host); empty: on all of them."
    )


class SiprecSettings(Section):
    """The SIPREC recording server."""

    enabled: bool = Field(True, description="Listen for recording sessions.")
    listen: str = Field("0.0.0.0", description="Address to listen on for SIP and RTP.")  # noqa: S104
    port: Port = Field(5080, description="SIP port, UDP and TCP; 0 picks a free one.")
    advertise: str = Field(
        "",
        description="Address told to the session border controller in SDP and Contact; empty: the one it reached.",
    )
    rtp_ports: tuple[Port, Port] = Field((40000, 49999), description="First and last UDP port for media.")
    allow: Networks = Field(
        ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7"),
        description="Networks that may send recording sessions.",
    )
    max_calls: int = Field(1000, ge=1, description="Concurrent calls past which an INVITE is answered 503.")
    silent_minutes: float = Field(
        10, gt=0, description="Minutes without a packet or a word after which a client is asked whether it still lives."
    )
    mask_dtmf: bool = Field(
        False, description="Never write down digits dialled in a call as RFC 4733 events: card numbers, PINs."
    )
    pause_keys: str = Field(
        "", description="Keys by which whoever speaks has the recording paused, for example *7; empty: none."
    )
    resume_keys: str = Field("", description="Keys by which it goes on, for example *8; empty: none.")
    tls_port: Port = Field(5061, description="SIP port for TLS 1.2 and newer; 0 picks a free one.")
    tls_certificate: Path | None = Field(None, description="PEM file of the certificate chain; without it no TLS.")
    tls_key: Path | None = Field(None, description="PEM file of its private key, without a passphrase.")
    tls_client_ca: Path | None = Field(
        None, description="PEM file of the authority whose client certificates are required; empty: none is asked for."
    )

    @field_validator("pause_keys", "resume_keys")
    @classmethod
    def _code(cls, value: str) -> str:
        if value and not _CODE.fullmatch(value):
            raise ValueError("two to eight of 0-9, *, # and A-D, for example *7")
        return value

    @model_validator(mode="after")
    def _different_codes(self) -> Self:
        pause, resume = self.pause_keys, self.resume_keys
        if pause and resume and (pause.startswith(resume) or resume.startswith(pause)):
            raise ValueError("pause_keys and resume_keys: neither may begin with the other, for example *7 and *8")
        return self

    @field_validator("rtp_ports")
    @classmethod
    def _port_range(cls, value: tuple[int, int]) -> tuple[int, int]:
        if value[1] - value[0] < 3:
            raise ValueError("at least four ports are needed, for example [40000, 49999]")
        return value


class MailboxSettings(Section):
    """One IMAP mailbox that is read, never written."""

    name: str = Field(description="Name of this mailbox in pages and logs.")
    host: str = Field(description="IMAP server.")
    port: Port = Field(993, description="IMAP port.")
    tls: bool = Field(True, description="TLS from the first byte; only switch it off for a server on this machine.")
    starttls: bool = Field(False, description="TLS after STARTTLS, for servers on port 143; needs tls = false.")
    user: str = Field(description="Login name.")
    auth: Literal["password", "google", "microsoft", "microsoft-application"] = Field(
        "password", description="How to log in; all but password use tokens that `cardline mailbox add` gets."
    )
    password: SecretStr = Field(SecretStr(""), validate_default=True, description="Password or application password.")
    client_id: str = Field(
        "", validate_default=True, description="Id of your application at Google or Microsoft, for auth with tokens."
    )
    client_secret: SecretStr = Field(SecretStr(""), description="Its secret, where it has one.")
    tenant: str = Field("organizations", description="Microsoft 365: your directory's id or domain.")
    folders: tuple[str, ...] = Field(
        (), description="Folders to read, * stands for anything; empty: all but drafts, junk and trash."
    )
    skip_folders: tuple[str, ...] = Field((), description="Folders never to read, * stands for anything.")
    since: date | None = Field(None, description="Mail that came before this day is not archived; empty: all is.")
    horizon_months: int = Field(0, ge=0, le=1200, description="The same in months back from the first start; 0: all.")
    connections: int = Field(3, ge=1, le=15, description="Connections at most for the first pass of a large mailbox.")
    poll_seconds: int = Field(60, ge=1, description="How often folders without IDLE are looked at.")
    largest_mb: int = Field(
        512, ge=1, le=900, description="Mails larger than so many MB are not taken; each is told of on «To be sorted»."
    )

    @field_validator("password")
    @classmethod
    def _password_or_token(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        if not value.get_secret_value() and info.data.get("auth") == "password":
            raise ValueError("it must be given")
        return value

    @field_validator("client_id")
    @classmethod
    def _application(cls, value: str, info: ValidationInfo) -> str:
        if not value and info.data.get("auth", "password") != "password":
            raise ValueError("it must be given for this auth; `cardline mailbox add` says how to get one")
        return value

    @field_validator("starttls")
    @classmethod
    def _one_way(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("tls"):
            raise ValueError("it goes with tls = false; port 993 wants tls, port 143 starttls")
        return value


class WebSettings(Section):
    """The pages and the HTTP API."""

    enabled: bool = Field(True, description="Serve the pages.")
    listen: str = Field("127.0.0.1", description="Address to listen on; a reverse proxy gives HTTPS.")
    port: Port = Field(8040, description="HTTP port; 0 picks a free one.")
    processes: int = Field(
        0, ge=0, le=64, description="Processes that serve the pages; 0: one a core, at most 4. Each takes about 100 MB."
    )
    public_url: str = Field(
        "", description="Address under which people reach the pages, https://…; `cardline doctor` checks it."
    )

    managers_see: Literal["own", "team"] = Field(
        "own", description="own: a manager sees his own clients and entries; team: those of his whole team."
    )
    require_totp_for: tuple[Literal["administrator", "supervisor", "manager"], ...] = Field(
        (), description="Roles that must log in with a second factor, a code of an authenticator (RFC 6238)."
    )
    oidc: OidcSettings = Field(OidcSettings(), description="[web.oidc]: logging in with the company's accounts.")

    managers_download: bool = Field(
        False, description="Managers may save recordings as files; they hear what is theirs in any case."
    )
    max_listeners: int = Field(10, ge=1, description="People who may listen in to calls in progress at the same time.")
    api_per_minute: int = Field(
        600, ge=1, description="Requests a minute that one API token, or one person's browser, may send to /api/v1."
    )
    max_event_streams: int = Field(
        500, ge=1, description="Open pages that are told of news at the same time; others show it when reloaded."
    )

    @field_validator("public_url")
    @classmethod
    def _address(cls, value: str) -> str:
        if value and not value.startswith(("https://", "http://")):
            raise ValueError("it must begin with https://")
        return value


_Named = MailboxSettings | AsteriskSettings | ProviderSettings | RecordingsSettings | CrmSettings


class Settings(BaseSettings):
    """The whole of cardline.toml."""

    model_config = SettingsConfigDict(
        env_prefix="CARDLINE_", env_nested_delimiter="__", extra="forbid", frozen=True, toml_file="cardline.toml"
    )

    data_dir: Path = Field(Path("/var/lib/cardline"), description="Folder for keys, packet logs, blobs, database.")
    region: str = Field("RU", description="Country of numbers written without +, two letters (ISO 3166).")
    extension_digits: int = Field(5, ge=2, le=8, description="Numbers up to this many digits are extensions.")
    host: str = Field(default_factory=socket.gethostname, description="Name of this machine for its own jobs.")
    log_format: str = Field("text", pattern="^(text|json)$", description="text for people, json for machines.")
    database: DatabaseSettings = DatabaseSettings()
    archive: ArchiveSettings = ArchiveSettings()
    seal: SealSettings = SealSettings()
    jobs: JobSettings = JobSettings()
    linking: LinkingSettings = LinkingSettings()
    siprec: SiprecSettings = SiprecSettings()
    sip: SipSettings = SipSettings()
    asterisk: tuple[AsteriskSettings, ...] = Field((), description="Asterisk servers, one [[asterisk]] table each.")
    smtp: SmtpSettings = SmtpSettings()
    mailbox: tuple[MailboxSettings, ...] = Field((), description="IMAP mailboxes, one [[mailbox]] table each.")
    provider: tuple[ProviderSettings, ...] = Field((), description="Virtual PBXs, one [[provider]] table each.")
    recordings: tuple[RecordingsSettings, ...] = Field(
        (), description="Folders of recordings that are followed, one [[recordings]] table each."
    )
    crm: tuple[CrmSettings, ...] = Field((), description="CRMs, one [[crm]] table each.")
    transcribe: TranscribeSettings = TranscribeSettings()
    web: WebSettings = WebSettings()

    @field_validator("data_dir", mode="before")
    @classmethod
    def _folder(cls, value: object) -> object:
        if value == "":
            raise ValueError("it must name a folder")
        return Path(value).expanduser() if isinstance(value, str) else value

    @field_validator("mailbox", "asterisk", "provider", "recordings", "crm")
    @classmethod
    def _names(cls, value: tuple[_Named, ...]) -> tuple[_Named, ...]:
        """What is archived of a source is remembered under its name: two of one name would skip each other's."""
        names = [one.name for one in value]
        if twice := sorted({one for one in names if names.count(one) > 1}):
            raise ValueError(f"the name {twice[0]} is given to two of them; each needs its own")
        return value

    @field_validator("region")
    @classmethod
    def _region(cls, value: str) -> str:
        if value not in phonenumbers.SUPPORTED_REGIONS:
            raise ValueError("not a country known to phonenumbers; two capital letters such as RU, DE or US")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments over variables over the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, _chosen_file.get())


# pydantic-settings has no other way to hand a file per call; nothing of it outlives the call
_chosen_file: ContextVar[Path] = ContextVar("chosen_file", default=Path("cardline.toml"))


def load_settings(path: Path | None = None) -> Settings:
    """Read the settings from ``path`` and the environment.

    Raises:
        Misconfigured: the file is missing or broken, or a value is wrong; the text names the setting.
    """
    if path is not None and not path.is_file():
        raise Misconfigured(f"There is no configuration file {path}.", remedy="Name an existing one with --config.")
    _refuse_unknown_variables()
    file = path or Path("cardline.toml")
    token = _chosen_file.set(file)
    try:
        return Settings()
    except ValidationError as error:
        raise Misconfigured(" ".join(_in_words(problem) for problem in error.errors())) from None
    except SettingsError as error:  # its text quotes the name of the section, never the value
        raise Misconfigured(
            f"A CARDLINE_ variable cannot be read: {error}.",
            remedy="""Write lists and tables as JSON, for example CARDLINE_SIPREC__ALLOW='["192.0.2.0/24"]'.""",
        ) from None
    except OSError as error:
        remedy = "Let the service's user read it."
        raise Misconfigured(f"{file} cannot be read: {error.strerror}.", remedy=remedy) from None
    except ValueError as error:  # TOML syntax
        raise Misconfigured(f"{file} cannot be read: {error}.") from None
    finally:
        _chosen_file.reset(token)


def _refuse_unknown_variables() -> None:
    """CARDLINE_WEBB__PORT is a slip; names without two underscores may be anybody's (Kubernetes makes some)."""
    for variable in os.environ:
        section, separator, _ = variable.lower().removeprefix("cardline_").partition("__")
        if variable.lower().startswith("cardline_") and separator and section not in Settings.model_fields:
            raise Misconfigured(
                f"{variable}: there is no section {section}.", remedy="Correct or unset this environment variable."
            )


_WORDS = (
    ("Value error, ", ""),
    ("Field required", "it must be given"),
    ("Input should be a valid tuple", "it should be a list, [ … ]"),
)


def _in_words(problem: ErrorDetails) -> str:
    name = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"{name}: there is no such setting."
    text = re.sub(r" for <class '[^']*'>", "", problem["msg"])  # Python 3.13 has the class in it
    for theirs, ours in _WORDS:
        text = text.replace(theirs, ours)
    if problem["type"] == "model_type":
        text = f"it should be a table, [{name}]"
    given = f" (it is {problem['input']!r})" if problem["type"] != "missing" and _may_be_shown(problem["loc"]) else ""
    return f"{name}: {text}{given}."


def _may_be_shown(loc: tuple[int | str, ...]) -> bool:
    """Whether a wrong value may stand in a message: not that of a secret, nor of what may hold one."""
    kind: Any = Settings
    for part in loc:
        if isinstance(part, str) and part in getattr(kind, "model_fields", {}):
            kind = kind.model_fields[part].annotation
        elif (inside := get_args(kind)) and isinstance(part, int):
            kind = inside[0]
    return not any(isinstance(one, type) and issubclass(one, SecretStr | BaseModel) for one in (kind, *get_args(kind)))
