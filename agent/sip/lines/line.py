"""The process of one SIP line, and the only file that knows pjsua2: ``python -m agent.sip.lines.line``.

Everything of pjsua2 happens on this one thread: another that touches or frees an object of it ends the process. What
its callbacks tell is put into a queue and passed on after `libHandleEvents`, since a call may not be changed from
within them. Objects are held for as long as they are needed, and dropped here. When the standard input ends, so do the
calls and we.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pjsua2 as pj

from agent.sip.lines.invitation import transport_of
from agent.sip.lines.phone import EARLY, GONE, TALKING, Listener, PhoneFault
from agent.sip.lines.pipes import Pipes
from agent.sip.lines.switch import Switch
from agent.sip.lines.words import CONFIGURE, READY

CLOCK_RATE = 16000  # Hz of the bridge and the sound files: a G.722 call is not narrowed on its way through us
MOST_LEGS = 4  # what the wheel is built for; a higher figure is silently cut
_CODECS = ("PCMA/8000/1", "PCMU/8000/1", "G722/16000/1", "GSM/8000/1", "iLBC/8000/1")
_REGISTER_S, _SESSION_S = 60, 900  # how long a registration, and a call without a sign of life, last
_BEEP_HZ, _BEEP_MS = 1400, 200
_CHANGES = {
    pj.PJSIP_INV_STATE_EARLY: EARLY,
    pj.PJSIP_INV_STATE_CONNECTING: TALKING,
    pj.PJSIP_INV_STATE_CONFIRMED: TALKING,
    pj.PJSIP_INV_STATE_DISCONNECTED: GONE,
}
_UNREGISTER_S = 2.0
_CONNECTION_LOST = 503
_HURRY_S = 15  # after which a process that should have ended is ended by the kernel


class PjLeg(pj.Call):  # type: ignore[misc]
    """One side of a call; see `agent.sip.lines.phone.Leg`. Its callbacks only note what happened, and when."""

    def __init__(self, phone: PjPhone, account: pj.Account, call: int = -1) -> None:
        super().__init__(account, call)
        self._phone = phone

    def onCallState(self, prm: Any) -> None:  # noqa: N802 - names of pjsua2
        info = self.getInfo()
        if change := _CHANGES.get(info.state):
            told = (self, change, int(info.lastStatusCode), str(info.lastReason), time.time())
            self._phone.later(self._phone.listener.leg_changed, *told)

    def onCallMediaState(self, prm: Any) -> None:  # noqa: N802
        self._phone.later(self._phone.listener.leg_sounds, self, time.time())

    def onDtmfDigit(self, prm: Any) -> None:  # noqa: N802
        self._phone.later(self._phone.listener.leg_pressed, self, str(prm.digit), time.time())

    def onCallTransferRequest(self, prm: Any) -> None:  # noqa: N802
        prm.statusCode = pj.PJSIP_SC_DECLINE  # else the library calls somebody itself, past our two calls

    @property
    def is_active(self) -> bool:
        return bool(self.isActive())

    @property
    def is_held(self) -> bool:
        with suppress(pj.Error):
            info = self.getInfo()  # kept, since the list within lives no longer than it
            return not any(one.status == pj.PJSUA_CALL_MEDIA_ACTIVE for one in info.media)
        return False

    def sound(self) -> pj.AudioMedia | None:
        with suppress(pj.Error):
            return self.getAudioMedia(-1)
        return None

    def answer(self, status: int) -> None:
        told = pj.CallOpParam(True)
        told.statusCode = status
        with suppress(pj.Error):  # it has just gone; that is told next
            super().answer(told)

    def hang_up(self, status: int) -> None:
        told = pj.CallOpParam()
        told.statusCode = status
        with suppress(pj.Error):
            self.hangup(told)

    def press(self, digit: str) -> None:
        try:
            self.dialDtmf(digit)
        except pj.Error:
            told = pj.CallSendDtmfParam()
            told.method, told.digits = pj.PJSUA_DTMF_METHOD_SIP_INFO, digit
            with suppress(pj.Error):
                self.sendDtmf(told)


class PjAccount(pj.Account):  # type: ignore[misc]
    """The registration. A call that is not held at once is refused by the library itself, with 603."""

    def __init__(self, phone: PjPhone) -> None:
        super().__init__()
        self._phone = phone

    def onIncomingCall(self, prm: Any) -> None:  # noqa: N802
        leg = PjLeg(self._phone, self, prm.callId)
        raw = str(prm.rdata.wholeMsg).encode("utf-8", "surrogateescape")
        self._phone.later(self._phone.listener.invited, leg, raw, str(prm.rdata.srcAddress), time.time())

    def onRegState(self, prm: Any) -> None:  # noqa: N802
        self._phone.later(self._phone.listener.registered, int(prm.code), str(prm.reason), int(prm.expiration))


class PjEndpoint(pj.Endpoint):  # type: ignore[misc]
    """The stack; a connection to the registrar that closed takes the registration with it."""

    phone: PjPhone

    def onTransportState(self, prm: Any) -> None:  # noqa: N802
        if prm.state == pj.PJSIP_TP_STATE_DISCONNECTED and "tcp" in str(prm.type).lower():
            self.phone.later(self.phone.listener.registered, _CONNECTION_LOST, "the connection was closed", 0)


class PjPhone:
    """The stack; see `agent.sip.lines.phone.Phone`."""

    listener: Listener

    def __init__(self, account: Mapping[str, Any]) -> None:
        self._told = account
        self._todo: deque[Callable[[], None]] = deque()
        self._endpoint = PjEndpoint()
        self._endpoint.phone = self
        self._account = PjAccount(self)
        self._silence = pj.ToneGenerator()

    def later(self, work: Callable[..., None], *values: Any) -> None:
        """For callbacks: do it when the library has returned."""
        self._todo.append(partial(work, *values))

    def start(self) -> int:
        """Bring up the stack and register; the port where it listens."""
        config = pj.EpConfig()
        config.uaConfig.threadCnt, config.uaConfig.mainThreadOnly = 0, True
        config.uaConfig.maxCalls, config.uaConfig.userAgent = MOST_LEGS, "Cardline"
        config.medConfig.clockRate = config.medConfig.sndClockRate = CLOCK_RATE
        config.medConfig.ecTailLen, config.medConfig.noVad = 0, True
        config.logConfig.level = config.logConfig.consoleLevel = 0
        with _hushed():
            self._endpoint.libCreate()
            self._endpoint.libInit(config)
        number = self._listen(self._told["port"])
        self._endpoint.libStart()
        self._endpoint.audDevManager().setNullDev()
        for codec in self._endpoint.codecEnum2():
            name = codec.codecId  # those not named here alter the loudness (speex) or are not of telephones (L16)
            rank = 250 - _CODECS.index(name) if name in _CODECS else 0
            self._endpoint.codecSetPriority(name, rank)
        self._silence.createToneGenerator(CLOCK_RATE)
        self._account.create(self._account_config())
        return number

    def _listen(self, port: int) -> int:
        """On the port of the process before us, if it is free: the registrar then has one contact of ours and not two,
        and whoever is still in a call with that process hears from us that it is over."""
        transport, is_tcp = pj.TransportConfig(), self._told["transport"] == "tcp"
        kind = pj.PJSIP_TRANSPORT_TCP if is_tcp else pj.PJSIP_TRANSPORT_UDP
        transport.boundAddress, transport.port = self._told["listen"], port
        try:
            known = self._endpoint.transportCreate(kind, transport)
        except pj.Error:
            transport.port = 0
            known = self._endpoint.transportCreate(kind, transport)
        address = str(self._endpoint.transportGetInfo(known).localAddress)
        return int(address.rpartition(":")[2])

    def _account_config(self) -> pj.AccountConfig:
        told, config = self._told, pj.AccountConfig()
        host, transport = told["registrar"], transport_of(told)
        config.idUri = f"sip:{told['user']}@{host}"
        config.regConfig.registrarUri = f"sip:{host}{transport}"
        config.regConfig.timeoutSec = _REGISTER_S
        config.regConfig.retryIntervalSec = config.regConfig.firstRetryIntervalSec = 0  # when to try again is ours
        config.regConfig.unregWaitMsec = 1000
        login = told["auth_user"] or told["user"]
        config.sipConfig.authCreds.append(pj.AuthCredInfo("digest", "*", login, 0, told["secret"]))
        config.sipConfig.proxies.append(f"sip:{told['proxy'] or host}{transport};lr")
        config.callConfig.timerUse, config.callConfig.timerSessExpiresSec = pj.PJSUA_SIP_TIMER_ALWAYS, _SESSION_S
        config.mediaConfig.lockCodecEnabled = False
        first, last = told["rtp_ports"]
        media = config.mediaConfig.transportConfig
        media.port, media.portRange, media.boundAddress = first, last - first, told["listen"]
        return config

    def handle(self) -> None:
        """Let the library work for up to 10 ms, and pass on what it told."""
        self._endpoint.libHandleEvents(10)
        while self._todo:
            self._todo.popleft()()

    def close(self) -> None:
        """Unregister and drop every object before the library goes: one that outlives it ends in an assertion."""
        self._todo.clear()
        with suppress(pj.Error):
            self._account.setRegistration(False)
            until = time.monotonic() + _UNREGISTER_S
            while self._account.getInfo().regIsActive and time.monotonic() < until:
                self._endpoint.libHandleEvents(10)
        self._todo.clear()
        with suppress(pj.Error):
            self._account.shutdown()
        del self._account, self._silence
        self._endpoint.libDestroy()

    def register(self) -> bool:
        try:
            self._account.setRegistration(True)
        except pj.Error:
            return False
        return True

    def dial(self, target: str, *, shown: str, asserted: str) -> PjLeg:
        told, leg = pj.CallOpParam(True), PjLeg(self, self._account)
        host = self._told["registrar"]
        mine = f"<sip:{self._told['user']}@{host}>"
        told.txOption.localUri = f'"{shown}" {mine}' if shown else mine
        if asserted:
            header = pj.SipHeader()
            header.hName, header.hValue = "P-Asserted-Identity", f"<sip:{asserted}@{host}>"
            told.txOption.headers.append(header)
        try:
            leg.makeCall(target, told)
        except pj.Error as error:
            raise _fault(error) from None
        return leg

    def record(self, file: Path) -> pj.AudioMediaRecorder:
        recorder = pj.AudioMediaRecorder()
        try:
            recorder.createRecorder(str(file))
            self._silence.startTransmit(recorder)
        except pj.Error as error:
            raise _fault(error) from None
        return recorder

    def announcement(self, file: str) -> pj.AudioMediaPlayer:
        player = pj.AudioMediaPlayer()
        try:
            player.createPlayer(file, pj.PJMEDIA_FILE_NO_LOOP)
        except pj.Error as error:
            raise _fault(error) from None
        return player

    def beep(self) -> pj.ToneGenerator:
        tone, tones, one = pj.ToneGenerator(), pj.ToneDescVector(), pj.ToneDesc()
        one.freq1, one.on_msec = _BEEP_HZ, _BEEP_MS
        tones.append(one)
        try:
            tone.createToneGenerator(CLOCK_RATE)
            tone.play(tones)
        except pj.Error as error:
            raise _fault(error) from None
        return tone

    def connect(self, source: pj.AudioMedia, sink: pj.AudioMedia) -> None:
        with suppress(pj.Error):
            source.startTransmit(sink)

    def disconnect(self, source: pj.AudioMedia, sink: pj.AudioMedia) -> None:
        with suppress(pj.Error):
            source.stopTransmit(sink)


@contextmanager
def _hushed() -> Iterator[None]:
    """The library tells of its beginning before it can be told not to, by the buffers of C."""
    kept = os.dup(1)
    with Path(os.devnull).open("wb") as nothing:
        os.dup2(nothing.fileno(), 1)
    try:
        yield
    finally:
        ctypes.CDLL(None).fflush(None)
        os.dup2(kept, 1)
        os.close(kept)


def _fault(error: pj.Error) -> PhoneFault:
    return PhoneFault(f"{error.title}: {error.reason}.")


def _first_order(pipes: Pipes) -> Mapping[str, Any] | None:
    """The account, for which alone is waited; None where the service went away first."""
    while not pipes.is_closed:
        for name, values in pipes.orders():
            if name == CONFIGURE:
                return values
        time.sleep(0.01)
    return None


def main() -> None:
    """Serve until the service closes our input or says SIGTERM."""
    facts = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints is not taken for a fact
    pipes = Pipes(0, facts)
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if (account := _first_order(pipes)) is None:
        return
    phone = PjPhone(account)
    switch = phone.listener = Switch(phone, account, pipes.say)
    pipes.say(READY, time.time(), port=phone.start())
    while not switch.is_stopped:
        phone.handle()
        for order, values in pipes.orders():
            switch.obey(order, values)
        switch.look_at_clocks()
        pipes.flush()
        if asked or pipes.is_closed:
            signal.alarm(_HURRY_S)
            switch.stop()
    switch.close()
    phone.close()


if __name__ == "__main__":
    main()
