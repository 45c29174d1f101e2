"""One process of the peer: pjsua2 answers calls at once and records each, as many as it can hold. Prints its port."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pjsua2 as pj


class Account(pj.Account):  # type: ignore[misc]
    """Takes every call and keeps it until it is over."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.calls: dict[int, Any] = {}
        self.folder = folder

    def onIncomingCall(self, prm: Any) -> None:  # noqa: N802 - the library calls it so
        call = Call(self, prm.callId)
        self.calls[prm.callId] = call
        answer = pj.CallOpParam()
        answer.statusCode = 200
        call.answer(answer)


class Call(pj.Call):  # type: ignore[misc]
    """A call that is recorded into a file of its own."""

    def __init__(self, account: Account, number: int) -> None:
        super().__init__(account, number)
        self.account = account
        self.recorder: Any = None

    def onCallMediaState(self, prm: Any) -> None:  # noqa: N802
        info = self.getInfo()
        for at, media in enumerate(info.media):
            if media.type == pj.PJMEDIA_TYPE_AUDIO and media.dir & pj.PJMEDIA_DIR_DECODING and self.recorder is None:
                self.recorder = pj.AudioMediaRecorder()
                self.recorder.createRecorder(str(self.account.folder / f"{id(self)}.wav"))
                self.getAudioMedia(at).startTransmit(self.recorder)

    def onCallState(self, prm: Any) -> None:  # noqa: N802
        info = self.getInfo()
        if info.state == pj.PJSIP_INV_STATE_DISCONNECTED:
            self.recorder = None
            self.account.calls.pop(info.id, None)


class Silence(pj.LogWriter):  # type: ignore[misc]
    """Standard output is for the port."""

    def write(self, entry: Any) -> None:
        """Drop what the library says."""


def main(folder: Path) -> None:
    endpoint = pj.Endpoint()
    endpoint.libCreate()
    config = pj.EpConfig()
    config.logConfig.level = config.logConfig.consoleLevel = 0
    config.logConfig.writer = Silence()
    config.uaConfig.threadCnt, config.uaConfig.mainThreadOnly, config.uaConfig.maxCalls = 0, True, 4
    config.medConfig.clockRate, config.medConfig.noVad = 8000, True
    endpoint.libInit(config)
    transport = pj.TransportConfig()
    transport.boundAddress = "127.0.0.1"
    number = endpoint.transportCreate(pj.PJSIP_TRANSPORT_UDP, transport)
    endpoint.libStart()
    endpoint.audDevManager().setNullDev()
    account_config = pj.AccountConfig()
    account_config.idUri = "sip:recorder@127.0.0.1"
    account_config.mediaConfig.transportConfig.boundAddress = "127.0.0.1"
    account = Account(folder)
    account.create(account_config)
    print(endpoint.transportGetInfo(number).localName.rpartition(":")[2], flush=True)
    while True:
        endpoint.libHandleEvents(10)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
