"""What a person need not look up: servers and limits of common providers. Pure; docs/mailboxes says more."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """``connections`` is what the first pass takes, well below what the provider allows; ``page`` explains the rest."""

    title: str
    host: str
    auth: str
    connections: int
    page: str
    hint: str


PRESETS: dict[str, Preset] = {
    "gmail": Preset(
        title="Gmail, Google Workspace",
        host="imap.gmail.com",
        auth="google",
        connections=4,  # 15 at once (support.google.com/mail/answer/7126229), shared with people's own programs
        page="docs/mailboxes/gmail.md",
        hint="Without an OAuth client: auth password with an application password (two-step verification on).",
    ),
    "microsoft365": Preset(
        title="Microsoft 365",
        host="outlook.office365.com",
        auth="microsoft",
        connections=3,  # it throttles by work done, and says for how long to stay away
        page="docs/mailboxes/microsoft365.md",
        hint="It takes no passwords; the administrator of the directory registers an application once.",
    ),
    "exchange": Preset(
        title="Exchange on your own server",
        host="",
        auth="password",
        connections=3,
        page="docs/mailboxes/exchange.md",
        hint="IMAP must be switched on: it is off where Exchange is new.",
    ),
    "yandex": Preset(
        title="Yandex 360, Yandex Mail",
        host="imap.yandex.ru",
        auth="password",
        connections=2,
        page="docs/mailboxes/yandex.md",
        hint="An application password is needed, and IMAP switched on in the mailbox's settings.",
    ),
    "mailru": Preset(
        title="Mail.ru, VK WorkSpace",
        host="imap.mail.ru",
        auth="password",
        connections=2,
        page="docs/mailboxes/mailru.md",
        hint="A password for external applications is needed.",
    ),
    "imap": Preset(
        title="any other IMAP server",
        host="",
        auth="password",
        connections=3,
        page="docs/mailboxes/imap.md",
        hint="Port 993 with TLS, or port 143 with STARTTLS.",
    ),
}


def quoted(value: str) -> str:
    """A TOML string (TOML 1.0, basic strings)."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(one if one >= " " and one != "\x7f" else f"\\u{ord(one):04x}" for one in escaped) + '"'


def table(values: dict[str, str | int | bool]) -> str:
    """The ``[[mailbox]]`` table to be pasted into cardline.toml."""
    lines = [f"{name} = {_written(value)}" for name, value in values.items()]
    return "\n".join(["[[mailbox]]", *lines])


def _written(value: str | int | bool) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else quoted(value)
