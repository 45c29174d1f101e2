"""The calls of one line, between its telephone and the service: in the line's process, without knowledge of pjsua2."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from agent.sip.lines.bridge import Action, Answer, Bridge, Dial, HangUp, Over, Talk
from agent.sip.lines.invitation import Invitation, is_trusted, read_invitation
from agent.sip.lines.phone import EARLY, GONE, Leg, Phone, PhoneFault, Sound
from agent.sip.lines.state import MOST_CALLS, registration_pause
from agent.sip.lines.words import (
    ALIVE,
    ANSWERED,
    CALLEE,
    CALLER,
    CHANNELS,
    ENDED,
    HELD,
    KEY,
    PAUSE,
    RECORD,
    RECORDING,
    REFUSED,
    REGISTERED,
    RESUME,
    RINGING,
    SIGN_S,
    SOURCES,
    WRONG,
)
from agent.sound.wav import is_complete

PLACE_S = 1.0  # a call waits this long for the folder of its sound, and then goes on without
RING_S = 180.0  # nobody lets it ring longer (RFC 3261, 16.6, timer C)
CLOSE_S = 1.0  # for the sound files of a call to become complete
BYE_S = 40.0  # an unanswered BYE is given up after 32 s
STOP_S = 3.0
_TOLD = ("caller", "caller_name", "callee", "dialled", "call_id", "user_agent", "diverted")

Say = Callable[..., None]


class _Call:
    """A call on the line: its pure state, and what of the telephone belongs to it."""

    def __init__(self, key: str, caller: Leg, invitation: Invitation, now: float) -> None:
        self.key, self.invitation, self.state = key, invitation, Bridge()
        self.legs: dict[str, Leg] = {CALLER: caller}
        self.folder: Path | None = None
        self.recorders: dict[str, Sound] = {}
        self.files: list[Path] = []
        self.held: set[str] = set()
        self.is_paused = self.is_announced = self.is_told = False
        self.announcement: Sound = None
        self.beep: Sound = None
        self.next_beep = 0.0
        self.deadline = now + PLACE_S
        self.over: tuple[float, Over] | None = None

    def side_of(self, leg: Leg) -> str:
        """Whose leg it is; empty for one that is no longer of this call."""
        return next((side for side, one in self.legs.items() if one is leg), "")

    def opposite(self, side: str) -> Leg | None:
        """The leg that is connected to that of a side."""
        return self.legs.get(CALLEE if side == CALLER else CALLER)

    def sound(self, side: str) -> Sound | None:
        """The sound of a side, while it has any."""
        leg = self.legs.get(side)
        return leg.sound() if leg is not None else None


class Switch:
    """Hears of the telephone, obeys the service, and says what happened. ``say`` takes kind, time, call and values."""

    def __init__(self, phone: Phone, account: Mapping[str, Any], say: Say) -> None:
        self._phone, self._account, self._say = phone, account, say
        self._sources: list[str] = list(account["sources"])
        self._calls: dict[str, _Call] = {}
        self._refused: list[Leg] = []  # held until the library has told them so
        self._register_at, self._failures, self._number = 0.0, 0, 0
        self._sign_at = 0.0
        self._stop_at: float | None = None

    @property
    def is_stopped(self) -> bool:
        """Whether nothing is left to be done after `stop`."""
        return self._stop_at is not None and (not self._calls or time.monotonic() >= self._stop_at)

    def stop(self) -> None:
        """End every call; then none is taken any more."""
        if self._stop_at is not None:
            return
        self._stop_at = time.monotonic() + STOP_S
        for call in tuple(self._calls.values()):
            self._perform(call, call.state.give_up(503, "the line is stopped"), time.time())

    def close(self) -> None:
        """Drop everything of the telephone."""
        self._calls.clear()
        self._refused.clear()

    def obey(self, order: str, values: Mapping[str, Any]) -> None:
        """What the service wants; an order for a call that has ended is none."""
        if order == SOURCES:
            self._sources = list(values["sources"])
        call = self._calls.get(str(values.get("call")))
        if call is None:
            return
        if order == RECORD:
            call.folder = Path(values["folder"]) if values["folder"] else None
            for side in tuple(call.legs):
                self._record(call, side)
            self._tell_of_recording(call)
            self._perform(call, call.state.dial(), time.time())
        elif order in (PAUSE, RESUME):
            call.is_paused = order == PAUSE
            for side in call.recorders:
                self._listen(call, side)

    def look_at_clocks(self) -> None:
        """Everything that is due by now; many times a second."""
        now = time.monotonic()
        if now >= self._sign_at:
            self._sign_at = now + SIGN_S
            self._say(ALIVE, time.time())
        if self._register_at and now >= self._register_at:
            self._register_at = 0.0 if self._phone.register() else now + 1.0
        for call in tuple(self._calls.values()):
            self._look_at(call, now)
        self._refused = [leg for leg in self._refused if leg.is_active]

    def _look_at(self, call: _Call, now: float) -> None:
        state = call.state
        if now >= call.deadline and not state.is_over and not state.is_answered:
            call.deadline = now + RING_S
            due = state.give_up(408, "nobody answered") if state.is_dialled else state.dial()
            self._perform(call, due, time.time())
        if call.next_beep and now >= call.next_beep and not state.is_over:
            call.next_beep = now + self._account["beep_s"]
            with suppress(PhoneFault):
                call.beep = self._phone.beep()
                self._play(call, call.beep)
        if call.over and not call.is_told:
            self._tell_end(call, now)
        if call.is_told and (state.is_empty or now >= call.deadline):
            del self._calls[call.key]

    # --- What the telephone tells -----------------------------------------------------------------------------------

    def registered(self, status: int, reason: str, expires: int) -> None:
        """See `Listener`; when to try again is decided here."""
        is_good = 200 <= status < 300
        if self._stop_at is not None or (is_good and not expires):
            return
        self._failures = 0 if is_good else self._failures + 1
        self._register_at = 0.0 if is_good else time.monotonic() + registration_pause(status, self._failures)
        self._say(REGISTERED, time.time(), status=status, reason=reason)

    def invited(self, leg: Leg, raw: bytes, peer: str, at: float) -> None:
        """See `Listener`."""
        invitation = read_invitation(raw, self._account)
        status, why = self._refusal(invitation, peer)
        if status:
            self._refused.append(leg)
            leg.hang_up(status)
            self._say(REFUSED, at, status=status, reason=why, peer=peer)
            return
        self._number += 1
        key = f"{at:.3f}-{os.getpid()}-{self._number}"
        self._calls[key] = _Call(key, leg, invitation, time.monotonic())
        self._say(RINGING, at, call=key, peer=peer, **{name: getattr(invitation, name) for name in _TOLD})

    def _refusal(self, invitation: Invitation, peer: str) -> tuple[int, str]:
        """The status with which a call is not taken, and why; 0 for one that is."""
        if not is_trusted(peer, self._sources):
            return 403, "it does not come from the registrar or a network in sip.line.allow"
        if self._stop_at is not None:
            return 503, "the line is stopped"
        if not invitation.refusal and len(self._calls) >= MOST_CALLS:
            return 486, "the line is full"
        return invitation.refusal, invitation.why

    def leg_changed(self, leg: Leg, change: str, status: int, reason: str, at: float) -> None:
        """See `Listener`."""
        call, side = self._find(leg)
        if call is None:
            return
        if change == GONE:
            self._perform(call, call.state.leaves(side, status, reason), at)
            call.legs.pop(side, None)
        elif side == CALLEE and change == EARLY:
            self._perform(call, call.state.rings(status, with_sound=leg.sound() is not None), at)
        elif side == CALLEE:
            self._perform(call, call.state.answers(), at)

    def leg_sounds(self, leg: Leg, at: float) -> None:
        """See `Listener`. After each re-INVITE a leg's sound is another one, so all is connected anew."""
        call, side = self._find(leg)
        if call is None or call.state.is_over:
            return
        self._record(call, side)
        if call.state.is_answered and leg.is_held != (side in call.held):
            (call.held.add if leg.is_held else call.held.discard)(side)
            self._say(HELD, at, call=call.key, side=side, active=not leg.is_held)
        self._listen(call, side)
        caller, callee = call.sound(CALLER), call.sound(CALLEE)
        if caller is not None and callee is not None:
            self._phone.connect(caller, callee)
            self._phone.connect(callee, caller)
        self._tell_of_recording(call)
        if side == CALLEE and not call.state.is_answered:
            self._perform(call, call.state.rings(183, with_sound=True), at)

    def leg_pressed(self, leg: Leg, digit: str, at: float) -> None:
        """See `Listener`: the key is passed on."""
        call, side = self._find(leg)
        if call is None:
            return
        self._say(KEY, at, call=call.key, side=side, digit=digit)
        if (other := call.opposite(side)) is not None:
            other.press(digit)

    def _find(self, leg: Leg) -> tuple[_Call | None, str]:
        return next(((call, side) for call in self._calls.values() if (side := call.side_of(leg))), (None, ""))

    # --- What the pure state asks for -------------------------------------------------------------------------------

    def _perform(self, call: _Call, actions: Sequence[Action], at: float) -> None:
        for action in actions:
            match action:
                case Dial():
                    self._dial(call)
                case Answer(status=status):
                    if (leg := call.legs.get(CALLER)) is not None:
                        leg.answer(status)
                case HangUp(side=side, status=status):
                    if (leg := call.legs.get(side)) is not None:
                        leg.hang_up(status)
                case Talk():
                    self._say(ANSWERED, at, call=call.key)
                    self._tell_of_recording(call)
                case Over():
                    call.over, call.deadline = (at, action), time.monotonic() + CLOSE_S
                    call.recorders.clear()
                    call.announcement = call.beep = None

    def _dial(self, call: _Call) -> None:
        call.deadline = time.monotonic() + RING_S
        wanted = call.invitation
        try:
            call.legs[CALLEE] = self._phone.dial(wanted.target, shown=wanted.shown, asserted=wanted.asserted)
        except PhoneFault as error:
            self._perform(call, call.state.leaves(CALLEE, 503, error.what), time.time())

    def _tell_end(self, call: _Call, now: float) -> None:
        """As soon as the library has closed the files, which it does a little later, on a thread of its own."""
        if now < call.deadline and not all(is_complete(file) for file in call.files):
            return
        assert call.over is not None
        at, over = call.over
        call.is_told, call.deadline = True, now + BYE_S
        self._say(ENDED, at, call=call.key, by=over.by, status=over.status, reason=over.reason)

    # --- Sound ------------------------------------------------------------------------------------------------------

    def _record(self, call: _Call, side: str) -> None:
        """Begin a file with the first sound of a side."""
        is_silent = call.state.is_over or call.sound(side) is None
        if call.folder is None or side in call.recorders or is_silent:
            return
        file = call.folder / f"{side}.wav"
        try:
            call.recorders[side] = self._phone.record(file)
        except PhoneFault as error:
            self._say(WRONG, time.time(), call=call.key, what="a side is not recorded", why=error.what)
            call.folder = None
            return
        call.files.append(file)
        self._say(RECORDING, time.time(), call=call.key, side=side, file=file.name)
        self._listen(call, side)

    def _listen(self, call: _Call, side: str) -> None:
        """Let the sound of a side into its file, or keep it out while recording is paused."""
        sound, recorder = call.sound(side), call.recorders.get(side)
        if sound is not None and recorder is not None:
            (self._phone.disconnect if call.is_paused else self._phone.connect)(sound, recorder)

    def _tell_of_recording(self, call: _Call) -> None:
        """Both sides hear that they are recorded, where that is wanted: once, as soon as both can hear."""
        is_ready = call.state.is_answered and len(call.recorders) == len(CHANNELS)
        if call.is_announced or not is_ready or call.state.is_over:
            return
        call.is_announced = True
        if self._account["beep_s"]:
            call.next_beep = time.monotonic() + self._account["beep_s"]
        if not self._account["announcement"]:
            return
        try:
            call.announcement = self._phone.announcement(self._account["announcement"])
            self._play(call, call.announcement)
        except PhoneFault as error:
            what = "the announcement could not be played"
            self._say(WRONG, time.time(), call=call.key, what=what, why=error.what)

    def _play(self, call: _Call, source: Sound) -> None:
        for side in call.legs:
            if (sound := call.sound(side)) is not None:
                self._phone.connect(source, sound)
