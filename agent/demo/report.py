"""What stands on the cards, and whether it is what the scene must come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.demo.mails import ExpectedMail, StagedMail
from agent.demo.scene import Client, ExpectedCall, StagedCall
from agent.model import Disposition, LinkState
from agent.store import cards, history, interactions
from agent.store.engine import Store
from agent.store.history import Entry
from agent.transcribe.wer import word_errors

WORST_WER = 0.10
_LENGTH_TOLERANCE_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One expected entry and the one found for it, or why there is none yet."""

    title: str
    entry: Entry | None
    missing: str = ""
    wer: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Histories:
    """Everything there is: entries by card name, and those on no card."""

    by_card: dict[str, list[Entry]]
    off_cards: list[Entry]

    def of(self, client: Client | None) -> list[Entry]:
        """The entries of a client's card; None asks for those on no card."""
        return self.by_card.get(client.name, []) if client is not None else self.off_cards


async def read_histories(store: Store) -> Histories:
    """All of it; the demo's database is small."""
    async with store.begin() as connection:
        ids = await interactions.list_ids(connection)
        entries = await history.load_entries(connection, ids)
        names = await _card_names(connection, entries)
    by_card: dict[str, list[Entry]] = {}
    off_cards = []
    for entry in entries:
        linked = [link.card_id for link in entry.links if link.card_id is not None]
        for card_id in linked:
            by_card.setdefault(names[card_id], []).append(entry)
        if not linked:
            off_cards.append(entry)
    return Histories(by_card=by_card, off_cards=off_cards)


async def _card_names(connection: AsyncConnection, entries: Sequence[Entry]) -> dict[int, str]:
    names = {}
    for card_id in {link.card_id for entry in entries for link in entry.links if link.card_id is not None}:
        card = await cards.find_card(connection, card_id)
        names[card_id] = card.name if card is not None else ""
    return names


def judge_call(call: StagedCall, histories: Histories) -> Outcome:
    """Find the call on its card, whole: times, outcome, recording, transcript."""
    expected = call.expected
    found = [
        one
        for one in histories.of(expected.client)
        if one.call is not None and one.call.disposition in (expected.disposition, Disposition.IN_PROGRESS)
    ]
    if len(found) != 1:
        return Outcome(title=call.title, entry=None, missing=f"{len(found)} such calls on the card")
    entry = found[0]
    missing, wer = _what_lacks(entry, expected)
    return Outcome(title=call.title, entry=entry, missing=missing, wer=wer)


def _what_lacks(entry: Entry, expected: ExpectedCall) -> tuple[str, float | None]:
    assert entry.call is not None
    if entry.call.disposition is Disposition.IN_PROGRESS:
        return "still going on", None
    if entry.interaction.direction is not expected.direction:
        return f"direction {entry.interaction.direction}", None
    if expected.client is None and not any(link.state is LinkState.UNKNOWN for link in entry.links):
        return "not among the unknown", None
    if not expected.spoken:
        return ("it has a recording", None) if entry.recordings else ("", None)
    if not entry.recordings:
        return "no recording yet", None
    seconds = entry.recordings[0].duration_ms / 1000
    if abs(seconds - expected.seconds) > _LENGTH_TOLERANCE_SECONDS:
        return f"{seconds:.2f} s recorded of {expected.seconds:.2f}", None
    if not entry.transcripts:
        return "no transcript yet", None
    heard = " ".join(one.text for one in entry.transcripts[0].utterances)
    wer = word_errors(" ".join(expected.spoken), heard).rate
    return (f"word error rate {wer:.0%}" if wer > WORST_WER else ""), wer


def judge_mail(mail: StagedMail, histories: Histories) -> Outcome:
    """Find the mail where it must stand, with its attachments; what is no activity must stand on no card."""
    expected = mail.expected
    found = [
        one
        for one in histories.of(expected.client)
        if one.message is not None and one.message.subject == expected.subject
    ]
    if len(found) != 1:
        return Outcome(title=mail.title, entry=None, missing=f"{len(found)} such mails there")
    entry = found[0]
    return Outcome(title=mail.title, entry=entry, missing=_mail_lacks(entry, expected))


def _mail_lacks(entry: Entry, expected: ExpectedMail) -> str:
    if entry.interaction.direction is not expected.direction:
        return f"direction {entry.interaction.direction}"
    if tuple(one.name for one in entry.attachments) != expected.attachments:
        return "its attachments"
    if expected.client is None and entry.links:
        return "it became an activity"
    return ""


def judge_thread(histories: Histories, client: Client) -> str:
    """All mails of this client in the demo are one thread; returns what is wrong."""
    threads = {one.message.thread_id for one in histories.of(client) if one.message is not None}
    return "" if len(threads) == 1 else f"{len(threads)} threads instead of one"


def history_table(histories: Histories, clock: str) -> Table:
    """The histories as a manager would read them. ``clock`` is a strftime format."""
    table = Table(title="Client histories", title_justify="left", show_lines=True)
    for heading in ("Card", "When", "What", "Said or written", "Why here"):
        table.add_column(heading, overflow="fold")
    groups = [*histories.by_card.items(), ("", histories.off_cards)]
    for name, entries in groups:
        for entry in sorted(entries, key=lambda one: one.interaction.started):
            when = entry.interaction.started.astimezone().strftime(clock)
            reason = entry.links[0].reason if entry.links else ""
            if entry.message is not None and not entry.links:
                reason = f"{entry.message.category}: {entry.message.category_reason}"
            table.add_row(name or "(no card)", when, _what(entry), _content(entry), reason)
    return table


def _what(entry: Entry) -> str:
    direction = entry.interaction.direction or ""
    if entry.call is None:
        return f"{direction} mail"
    seconds = sum(one.duration_ms for one in entry.recordings) / 1000
    length = f", {seconds:.1f} s" if seconds else ""
    return f"{direction} call, {entry.call.disposition.replace('_', ' ')}{length}"


def _content(entry: Entry) -> str:
    if entry.message is not None:
        names = "".join(f"\n[{one.name}, {one.size} bytes]" for one in entry.attachments)
        return entry.message.subject + names
    channels = {one.channel: one.name or one.value for one in entry.parties if one.channel is not None}
    lines = [
        f"{channels.get(one.channel, '?').split()[0]}: {one.text}"
        for each in entry.transcripts
        for one in each.utterances
    ]
    return "\n".join(lines)
