"""`cardline doctor provider`: how each virtual PBX is attached, with a question to its API, and what to do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

from agent.commandline.base import in_words
from agent.doctor import Finding
from agent.errors import CardlineError, Misconfigured
from agent.parts import reach_database
from agent.settings import Settings
from agent.sip.providers.preset import Provider
from agent.sip.providers.presets import providers_of
from agent.store import notifications, providers
from agent.store.engine import Store
from agent.store.migrate import migrate

_WAITING = timedelta(hours=1)
_TRIED = timedelta(hours=1)
_PAGE = "docs/providers"


async def examine_providers(settings: Settings) -> list[Finding]:
    """All that stand in the settings; the database may be away, then only what needs none is looked at."""
    known = providers_of(settings)
    if not known:
        text = f"There is no [[provider]] table in cardline.toml. {_PAGE} says how to attach a virtual PBX."
        return [Finding(subject="providers", level="warning", text=text)]
    findings: list[Finding] = []
    for one in known.values():
        findings += [finding async for finding in _without_database(one, settings)]
    async with reach_database(settings) as url:
        await migrate(url)
        store = Store(url)
        try:
            for one in known.values():
                findings += [finding async for finding in _in_database(one, store)]
        finally:
            await store.close()
    return sorted(findings, key=lambda finding: finding.subject.partition(" ")[0])


async def _without_database(one: Provider, settings: Settings) -> AsyncIterator[Finding]:
    now = datetime.now(one.zone)
    text = f"{one.preset.title}; its times are read as {one.zone.key}, where it is {now:%H:%M} now."
    yield Finding(subject=one.name, level="ok", text=text)
    yield _address(one, settings)
    yield await _try_statistics(one)


def address_of(one: Provider, public_url: str) -> str:
    """What is to be pasted into the provider's cabinet."""
    token = f"/{one.keys.token}" if one.preset.in_address else ""
    return f"{public_url.rstrip('/')}/hooks/{one.name}{token}"


def _address(one: Provider, settings: Settings) -> Finding:
    subject = f"{one.name} address"
    is_closed = not (one.keys.token if one.preset.in_address else one.keys.secret)
    if is_closed:
        need = "token" if one.preset.in_address else "secret"
        text = f"It takes no notifications, since {need} is empty."
        text += " Its statistics are asked for." if one.can_poll else f" Set {need}: nothing else tells of its calls."
        return Finding(subject=subject, level="ok" if one.can_poll else "fault", text=text)
    if not settings.web.public_url:
        text = "Set web.public_url, the address under which the internet reaches this service, to take notifications."
        return Finding(subject=subject, level="ok" if one.can_poll else "fault", text=text)
    address = address_of(one, settings.web.public_url)
    return Finding(subject=subject, level="ok", text=f"{address} belongs into {one.preset.cabinet}.")


async def _try_statistics(one: Provider) -> Finding:
    """Ask for the last hour, as the service would."""
    subject = f"{one.name} statistics"
    list_calls = one.preset.list_calls
    if list_calls is None:
        text = "It has none: a notification that is lost is a call that is lost."
        return Finding(subject=subject, level="warning", text=text)
    if not one.can_poll:
        text = "They are not asked for. Set secret and poll_minutes: then a lost notification loses no call."
        return Finding(subject=subject, level="warning", text=text)
    api, now, count = one.open_api(), datetime.now(UTC), 0
    try:
        async for rows in list_calls(api, now - _TRIED, now):
            count += len(rows)
            for row in rows:
                if one.preset.read_row is not None:
                    one.preset.read_row(row, one.zone)
    except CardlineError as error:
        return Finding(
            subject=subject, level="fault" if isinstance(error, Misconfigured) else "warning", text=in_words(error)
        )
    finally:
        await api.egress.close()
    return Finding(subject=subject, level="ok", text=f"Its API answers: {count} lines for the last hour.")


async def _in_database(one: Provider, store: Store) -> AsyncIterator[Finding]:
    now = datetime.now(UTC)
    async with store.begin() as connection:
        status = await providers.find_status(connection, one.name)
        counts = await notifications.count_notifications(connection, one.name)
        waiting = await notifications.count_waiting(connection, one.name, before=now - _WAITING)
        kept = await providers.count_recordings(connection, one.name)
        channels = await providers.last_channels(connection, one.name)
        problem = await providers.last_problem(connection, one.name)
    yield _told(one, status)
    if status.refused:
        text = f"{status.refused} requests had a wrong signature or token, the last {_when(one, status.refused_at)}."
        text += " If they were the provider's, check secret and token; strangers try every address."
        is_newer = status.told is None or (status.refused_at is not None and status.refused_at > status.told)
        yield Finding(subject=f"{one.name} signatures", level="warning" if is_newer else "ok", text=text)
    if counts.get(notifications.UNREADABLE):
        text = f"{counts[notifications.UNREADABLE]} could not be read; they are on the page «To be sorted»."
        yield Finding(subject=f"{one.name} unreadable", level="warning", text=text)
    if waiting:
        text = f"Of {waiting} calls only their recording was told, never who and when. Let it send all events."
        yield Finding(subject=f"{one.name} halves", level="warning", text=text)
    yield _polled(one, status)
    yield _recordings(one, kept, channels, problem)


def _told(one: Provider, status: providers.ProviderStatus) -> Finding:
    subject = f"{one.name} notifications"
    if status.told is not None:
        return Finding(subject=subject, level="ok", text=f"The last one came {_when(one, status.told)}.")
    return Finding(subject=subject, level="ok" if one.can_poll else "warning", text="None has come yet.")


def _polled(one: Provider, status: providers.ProviderStatus) -> Finding:
    subject = f"{one.name} asked"
    if status.poll_problem:
        return Finding(subject=subject, level="warning", text=status.poll_problem)
    if status.polled is None:
        return Finding(subject=subject, level="ok", text="The service has not asked for its statistics yet.")
    text = f"The service has its statistics up to {_when(one, status.polled_until)}."
    return Finding(subject=subject, level="ok", text=text)


def _recordings(one: Provider, kept: dict[str, int], channels: int | None, problem: str) -> Finding:
    subject = f"{one.name} recordings"
    if not one.settings.recordings:
        return Finding(subject=subject, level="ok", text="They are not fetched (recordings = false).")
    counted = ", ".join(f"{kept.get(state, 0)} {word}" for state, word in _STATES.items())
    if channels == 1:
        text = f"{counted}. They have one channel: the parties are not separated. {one.preset.stereo}"
        return Finding(subject=subject, level="warning", text=text)
    if channels is None and not kept:
        text = f"None yet. Have both parties on channels of their own: {one.preset.stereo}"
        return Finding(subject=subject, level="ok", text=text)
    text = f"{counted}{', two channels' if channels == 2 else ''}. {problem}".strip()
    return Finding(subject=subject, level="warning" if kept.get(providers.GIVEN_UP) else "ok", text=text)


_STATES = {providers.KEPT: "kept", providers.WAITING: "waited for", providers.GIVEN_UP: "given up"}


def _when(one: Provider, time: datetime | None) -> str:
    return f"{time.astimezone(one.zone):%Y-%m-%d %H:%M:%S}" if time is not None else "never"
