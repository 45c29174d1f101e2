"""The tables `[[recordings]]`."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator

from agent.settings_base import NAME, Section


class RecordingsSettings(Section):
    """A folder into which a PBX records by itself; what comes into it is taken in."""

    name: str = Field(pattern=NAME, max_length=64, description="Name of this PBX in pages and logs.")
    folder: Path = Field(description="Folder of recordings, for example /var/spool/asterisk/monitor.")
    cdr: Path | None = Field(
        None, description="Its call records, for example /var/log/asterisk/cdr-csv/Master.csv; empty: names must do."
    )
    timezone: str = Field(description="Zone of its times, for example Europe/Moscow.")
    quiet_seconds: float = Field(10, gt=0, description="Seconds without a change after which a recording is complete.")
    cdr_seconds: float = Field(
        120, ge=0, description="Seconds to wait for the call record of a complete recording before it is taken without."
    )
    look_seconds: float = Field(5, gt=0, description="How often the folder is looked at.")
    unrecorded: bool = Field(
        True, description="Also take in calls of which there is a record and no recording: missed."
    )
    callee_first: bool = Field(False, description="In its stereo recordings the callee is on the first channel.")

    @field_validator("folder", "cdr")
    @classmethod
    def _expanded(cls, value: Path | None) -> Path | None:
        return value.expanduser() if value is not None else None

    @field_validator("timezone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except Exception:
            raise ValueError("it must be a name of the tz database such as Europe/Moscow") from None
        return value
