"""One import from beginning to end: look, find the call records, take, report."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import tzinfo
from pathlib import Path

from agent.errors import Misconfigured
from agent.sip.imports.importer import Finder, Importer, Plan, no_rows, wanted_names
from agent.sip.imports.matching import match_file, zone_words
from agent.sip.imports.report import Fate, Outcome, Report

Progress = Callable[[int, int, Outcome], None]
"""Called after each file with how many are done, how many there are, and what became of this one."""


async def import_folder(
    importer: Importer,
    report: Report,
    *,
    zone: tzinfo,
    cdr: Path | None = None,
    dry_run: bool = False,
    again: bool = False,
    on_progress: Progress | None = None,
) -> Plan:
    """Take in what is new in the folder; the report knows what became of each file.

    Raises:
        Misconfigured: the folder or the file of call records cannot be read.
        Unavailable: disk or database are away; what was taken stays so, and the rest comes next time.
    """
    try:
        plan = await importer.plan(again=again)
    except OSError as error:
        raise Misconfigured(
            f"The folder of recordings cannot be read: {error.strerror}.", remedy="Let this user read it."
        ) from None
    for one in plan.left:
        report.add(Outcome(file=one.path, fate=Fate.LEFT_OUT, reason=one.reason))
    rows_of: Finder = no_rows
    if cdr is not None and plan.units:
        try:
            matcher, reader = await asyncio.to_thread(match_file, cdr, zone, wanted_names(plan))
        except OSError as error:
            raise Misconfigured(
                f"{cdr} cannot be read: {error.strerror}.", remedy="Name a readable file of call records with --cdr."
            ) from None
        rows_of = matcher.rows_of
        report.note(zone_words(matcher))
        if reader.unreadable:
            report.note(f"{reader.unreadable} lines of {cdr.name} are no call records")
        if not matcher.rows:
            report.note(f"no call records were found in {cdr.name}")
    done = 0
    async for outcome in importer.take(plan, rows_of, dry_run=dry_run):
        done += 1
        report.add(outcome)
        if on_progress is not None:
            on_progress(done, len(plan.units), outcome)
    return plan
