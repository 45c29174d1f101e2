"""`cardline import recordings`: what was recorded before Cardline came."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from agent.commandline import base
from agent.errors import Misconfigured

if TYPE_CHECKING:
    from agent.parts import Parts
    from agent.settings_recordings import RecordingsSettings
    from agent.sip.imports.report import Outcome, Report

imports = typer.Typer(no_args_is_help=True, help="Take in what was recorded before.")

_QUIET_SECONDS = 10
_EXAMPLES = 15
_SAY_EVERY = 10.0  # seconds, where no terminal shows a bar
_FATES = {
    "imported": "imported",
    "would_import": "would be imported",
    "known": "known already",
    "left_out": "left out",
    "failed": "not now",
}


@imports.callback()
def _group() -> None:
    """A group also while it has one command."""


@imports.command("recordings")
def import_recordings(
    folder: Annotated[Path, typer.Argument(help="Folder of recordings, for example /var/spool/asterisk/monitor.")],
    cdr: Annotated[Path | None, typer.Option(help="Call records: Master.csv, or an export with a header.")] = None,
    timezone: Annotated[str, typer.Option(help="Zone of the PBX's times, for example Europe/Moscow.")] = "",
    name: Annotated[str, typer.Option(help=r"Name of this PBX in pages; that of [\[recordings]] by itself.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would happen.")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what comes until stopped.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Also try again what was left out before.")] = False,
    callee_first: Annotated[
        bool, typer.Option("--callee-first", help="In stereo recordings the callee is on the first channel.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="Write what became of each file: .csv, else lines of JSON.")
    ] = None,
) -> None:
    """Take recordings of Asterisk, FreePBX and others in, each once; can be stopped and repeated at any time."""
    from agent.logs import configure_logging
    from agent.sip.imports.report import Report as Made

    async def work(parts: Parts) -> None:
        configure_logging("text", level="WARNING")
        chosen = _chosen(parts, folder, cdr, timezone, name, callee_first=callee_first)
        with Made(report) as made:
            try:
                await _import(parts, chosen, made, dry_run=dry_run, again=again, follow=follow)
            finally:  # also of one that was broken off with Ctrl-C
                _show(made, dry_run=dry_run)

    base.with_parts(work)


def _chosen(
    parts: Parts, folder: Path, cdr: Path | None, timezone: str, name: str, *, callee_first: bool
) -> RecordingsSettings:
    """What [[recordings]] says of this folder, overridden by options."""
    from agent.settings_recordings import RecordingsSettings

    root = folder.expanduser().absolute()
    known = next((one for one in parts.settings.recordings if one.folder.absolute() == root), None)
    if not root.is_dir():
        raise Misconfigured(f"There is no folder {folder}.", remedy="Name the folder that holds the recordings.")
    zone = timezone or (known.timezone if known else "")
    if not zone:
        raise Misconfigured(
            "The time zone of the PBX is not known.", remedy="Say it, for example --timezone Europe/Moscow."
        )
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):
        raise Misconfigured(
            f"There is no time zone {zone}.", remedy="Use a name of the tz database such as Europe/Moscow."
        ) from None
    return RecordingsSettings(
        name=name or (known.name if known else "import"),
        folder=root,
        cdr=cdr or (known.cdr if known else None),
        timezone=zone,
        callee_first=callee_first or (known.callee_first if known else False),
    )


async def _import(
    parts: Parts, chosen: RecordingsSettings, report: Report, *, dry_run: bool, again: bool, follow: bool
) -> None:
    from agent.sip.imports.follow import Follower, make_importer
    from agent.sip.imports.run import import_folder

    importer = make_importer(parts.store, parts.archive, parts.intake, chosen, parts.settings.extension_digits)
    sys.stderr.write(f"Looking through {chosen.folder} …\n")
    with _Shower() as shower:
        await import_folder(
            importer,
            report,
            zone=ZoneInfo(chosen.timezone),
            cdr=chosen.cdr,
            dry_run=dry_run,
            again=again,
            on_progress=shower,
        )
    if follow and not dry_run:
        base.console.print("Following; stop with Ctrl-C.")
        await Follower(parts.store, importer, chosen, on_outcome=report.add).run()


class _Shower:
    """A bar on a terminal, else a line every ten seconds."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console) if console.is_terminal else None
        self._task = self._bar.add_task("Recordings", total=None) if self._bar else None
        self._began = self._said = time.monotonic()

    def __enter__(self) -> _Shower:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, done: int, total: int, outcome: Outcome) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total)
            return
        now = time.monotonic()
        if now - self._said >= _SAY_EVERY or done == total:
            self._said = now
            speed = done / max(now - self._began, 0.001)
            left = (total - done) / speed
            sys.stderr.write(f"{done} of {total} recordings, {speed:.1f} a second, {left / 60:.0f} min left\n")


def _show(report: Report, *, dry_run: bool) -> None:
    console = base.console
    if dry_run and report.planned:
        console.print(_planned(report.planned), soft_wrap=False)
    table = Table(box=None, padding=(0, 2))
    for title in ("files", "what became of them", "why", "for example"):
        table.add_column(title)
    explained: dict[str, int] = {}
    for (fate, reason), count in report.reasons.most_common():
        explained[fate] = explained.get(fate, 0) + count
        table.add_row(str(count), _FATES[fate], escape(reason), escape(report.examples[fate, reason]))
    for fate, count in report.fates.items():
        if rest := count - explained.get(fate, 0):
            table.add_row(str(rest), _FATES[fate], "", "")
    console.print(table if report.fates else "There is nothing new.", soft_wrap=False)
    for text in _remarks(report):
        console.print(escape(text))


def _remarks(report: Report) -> list[str]:
    found = [f"{report.seconds / 60:.0f} min of sound."] if report.seconds else []
    if report.mixed:
        found.append(
            f"{report.mixed} recordings are mono: their parties are not separated. For those to come see "
            "docs/old-recordings.md, «Two channels»."
        )
    found += [f"{count} × {flag}." for flag, count in report.flags.most_common()]
    return found + [f"{note[:1].upper()}{note[1:]}." for note in report.notes]


def _planned(outcomes: list[Outcome]) -> Table:
    table = Table(box=None, padding=(0, 2), title="What would be imported", title_justify="left")
    for title in ("file", "began (UTC)", "who", "whom", "seconds", "channels", "from"):
        table.add_column(title)
    for one in outcomes[:_EXAMPLES]:
        table.add_row(
            escape(one.file),
            one.started[:19].replace("T", " "),
            escape(one.caller),
            escape(one.callee),
            f"{one.seconds:.0f}",
            "apart" if one.separated else "mono",
            f"{one.records} call records" if one.records else "the file's name",
        )
    return table
