"""`cardline doctor asterisk`: each PBX as the service will use it, and what its configuration needs."""

from __future__ import annotations

from agent.doctor import Finding
from agent.settings import Settings
from agent.settings_asterisk import AsteriskSettings
from agent.sip.asterisk.check import check, configuration

_EXAMPLE = AsteriskSettings.model_validate(
    {"name": "office", "url": "http://192.0.2.10:8088/ari", "user": "cardline", "secret": "-"}
)
_ATTACH = """There is no [[asterisk]] table in cardline.toml. Add one, for example:
[[asterisk]]
name = "office"
url = "http://192.0.2.10:8088/ari"
user = "cardline"
secret = "a long password"
docs/asterisk.md says the rest."""


async def examine_asterisk(settings: Settings) -> list[Finding]:
    """All that stand in the settings."""
    if not settings.asterisk:
        return [Finding(subject="asterisk", level="warning", text=_ATTACH)]
    return [
        Finding(subject=found.subject, level=found.level, text=found.text)
        for one in settings.asterisk
        async for found in check(one, settings)
    ]


def lines_to_paste(settings: Settings) -> str:
    """For the configuration of each PBX."""
    return "\n".join(map(configuration, settings.asterisk or (_EXAMPLE,)))
