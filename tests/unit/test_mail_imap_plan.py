"""The marks of a folder never pass a message that is not archived, wherever reading is interrupted."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.mail.imap import plan
from agent.mail.imap.plan import FolderStatus, UidRange, plan_batches, starting_position
from agent.model import MailboxPosition


def at(low: int, high: int, uidvalidity: int = 7) -> MailboxPosition:
    return MailboxPosition(mailbox="m", folder="INBOX", uidvalidity=uidvalidity, low_uid=low, high_uid=high)


def status(uidnext: int, uidvalidity: int = 7) -> FolderStatus:
    return FolderStatus(uidvalidity=uidvalidity, uidnext=uidnext)


def start(of: FolderStatus, known: MailboxPosition | None) -> tuple[MailboxPosition, bool]:
    return starting_position("m", "INBOX", of, known)


def test_where_to_begin() -> None:
    assert start(status(11), None) == (at(11, 10), False)
    assert start(status(11), at(3, 8)) == (at(3, 8), False)
    assert start(status(11, 8), at(3, 8)) == (at(11, 10, 8), True)  # another UIDVALIDITY, maybe one of before
    assert start(status(5), at(3, 8)) == (at(5, 4), True)  # restored from a backup: UIDs may be used again
    assert start(status(11, 0), at(3, 8, 0)) == (at(11, 10, 0), True)  # no lasting UIDs


def test_a_batch_is_limited_in_number_and_bytes() -> None:
    sizes = dict.fromkeys(range(1, 481), 10)
    found = list(plan_batches(at(481, 480), UidRange(first=1, last=480, upwards=False), sizes, status(481)))
    assert [len(batch.uids) for batch in found] == [200, 200, 80]
    assert [batch.position.low_uid for batch in found] == [281, 81, 1]
    large = dict.fromkeys((1, 2, 3), plan.BATCH_BYTES - 1)
    found = list(plan_batches(at(4, 3), UidRange(first=1, last=3, upwards=False), large, status(4)))
    assert [batch.uids for batch in found] == [(3,), (2,), (1,)]


def test_an_empty_stretch_moves_the_mark_all_the_same() -> None:
    [batch] = plan_batches(at(1001, 2000), UidRange(first=501, last=1000, upwards=False), {}, status(2001))
    assert (batch.uids, batch.position) == ((), at(501, 2000))


def test_a_uid_announced_but_not_shown_yet_is_not_passed() -> None:
    stretch = UidRange(first=9, last=12, upwards=True)
    [batch] = plan_batches(at(1, 8), stretch, {9: 1, 10: 1}, status(13))
    assert batch.position == at(1, 10)
    assert list(plan_batches(at(1, 8), stretch, {}, status(13))) == []


_steps = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), st.integers(1, 30)),
        st.tuples(st.just("skip"), st.integers(1, 400)),  # UIDs that never became messages
        st.tuples(st.just("expunge"), st.integers(0, 200)),
        st.tuples(st.just("read"), st.integers(0, 6)),  # interrupted after so many commits
    ),
    max_size=30,
)


@settings(max_examples=300, deadline=None)
@given(before=st.sets(st.integers(1, 300), max_size=60), steps=_steps)
def test_every_message_is_archived_once_and_no_mark_passes_one(before: set[int], steps: list[tuple[str, int]]) -> None:
    there = {uid: 200_000 * (uid % 7) for uid in before}
    uidnext = max(there, default=0) + 1
    archived: list[int] = []
    position: MailboxPosition | None = None

    def read(commits: float) -> None:
        nonlocal position
        position, _ = start(status(uidnext), position)
        first = position.high_uid + 1
        while True:
            stretch = plan.newer_range(first, status(uidnext), 20) or plan.older_range(position, 20)
            if stretch is None:
                return
            first = max(first, stretch.last + 1)
            for batch in plan_batches(position, stretch, there, status(uidnext)):
                if commits <= 0:
                    return
                commits -= 1
                archived.extend(batch.uids)
                position = batch.position
                missed = {uid for uid in there if position.low_uid <= uid <= position.high_uid} - set(archived)
                assert not missed

    for what, number in steps:
        if what == "arrive":
            there |= dict.fromkeys(range(uidnext, uidnext + number), 1000)
            uidnext += number
        elif what == "skip":
            uidnext += number
        elif what == "expunge":
            there = {uid: size for uid, size in there.items() if uid % 11 != number % 11}
        else:
            read(number)
    read(float("inf"))
    assert set(there) <= set(archived)
    assert len(archived) == len(set(archived))


def test_the_chunk_follows_the_density() -> None:
    assert plan.next_chunk(500, 0) == 1000
    assert plan.next_chunk(65536, 0) == 65536
    assert plan.next_chunk(8000, 5000) == 4000
    assert plan.next_chunk(500, 5000) == 500
    assert plan.next_chunk(2000, 1500) == 2000
