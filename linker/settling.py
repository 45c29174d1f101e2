"""A meeting's state is saved, and looked at again once its time has passed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from agent import jobs
from agent.store import meetings
from agent.store.interactions import Interaction, Party
from agent.store.meetings import LATE, Meeting
from linker.meetings import Plan, confirmation, state_of

_A_LITTLE = timedelta(minutes=1)


async def settle(
    connection: AsyncConnection,
    interaction: Interaction,
    plan: Plan,
    parties: Sequence[Party],
    *,
    hidden: bool,
    now: datetime,
) -> None:
    """What became of a meeting by now; its links are saved already, since calls are found by the card."""
    before = (await meetings.list_meetings(connection, [interaction.id]))[0]
    await meetings.save_meeting(connection, _meeting(interaction.id, plan, before), started=plan.start)
    calls = (await meetings.list_calls_beside(connection, [interaction.id])).get(interaction.id, [])
    confirmed = confirmation(plan, parties, calls, before.said, before.said_by)
    state, reason = state_of(plan, confirmed, before.said, before.said_by, now=now)
    after = _meeting(interaction.id, plan, before, state=state, reason=reason, confirmed=confirmed, hidden=hidden)
    await meetings.save_meeting(connection, after, started=plan.start)
    if plan.end > now:
        work = jobs.Job(task=jobs.LINK, args={"interaction_ids": [interaction.id]}, at=plan.end + LATE + _A_LITTLE)
        await jobs.defer(connection, [work])


def _meeting(number: int, plan: Plan, before: Meeting, **more: object) -> Meeting:
    values = {
        "interaction_id": number,
        "ends": plan.end,
        "state": before.state,
        "moved_from": plan.moved_from,
        "is_all_day": plan.is_all_day,
        "is_recurring": plan.is_recurring,
        "summary": plan.summary,
        "location": plan.location,
        "answers": plan.answers,
    }
    return Meeting(**(values | more))  # type: ignore[arg-type]
