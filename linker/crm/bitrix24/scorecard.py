"""What the connector of Bitrix24 does, for an application and for a webhook."""

from __future__ import annotations

from linker.crm.protocol import Capability, Scorecard

_BOTH = {
    Capability.FIND_CARDS: "crm.duplicate.findbycomm, each type by itself: twenty hits of one hide the others",
    Capability.CREATE_CARDS: "contacts and companies",
    Capability.LOG_MAILS: "an activity of the type e-mail that is never sent",
    Capability.FIND_LOGGED: "EXTERNAL_CALL_ID in the statistics of telephony, ORIGIN_ID of activities",
    Capability.FIND_FOREIGN: "calls in the statistics by number and time; mails by time, subject and address, since "
    "Bitrix24 shows no Message-ID",
    Capability.UPDATE: "moved, given to another employee, times",
    Capability.LIST_USERS: "with their inner numbers",
    Capability.READ_CARDS: "contacts, companies and leads",
    Capability.READ_DEALS: "with amount, source and pipeline; the failing stage is the reason of a loss",
    Capability.STAGE_HISTORY: "crm.stagehistory.list",
}
_MERGES = "Bitrix24 deletes what was merged and does not say into what"

APPLICATION = Scorecard(
    does={
        **_BOTH,
        Capability.LOG_CALLS: "registered with the telephony, so that they count in its reports",
        Capability.LINK_RECORDING: "Bitrix24 fetches the sound from the link and keeps a copy",
        Capability.UPLOAD_RECORDING: "by uploadUrl; a second one takes the place of the first",
        Capability.TRANSCRIPT: "telephony.call.attachTranscription, who said what at which second",
        Capability.WITHDRAW: "the activity and the file go, the transcript is overwritten; number and length stay in "
        "the statistics of telephony, which deletes nothing",
        Capability.READ_DELETIONS: "offline events, where the plan has them",
    },
    lacks={Capability.READ_MERGES: _MERGES},
)

WEBHOOK = Scorecard(
    does={
        **_BOTH,
        Capability.LOG_CALLS: "an activity of the type call; it does not count in reports of the telephony",
        Capability.LINK_RECORDING: "in the text of the activity",
        Capability.UPLOAD_RECORDING: "as the file of the activity",
        Capability.TRANSCRIPT: "in the text of the activity",
        Capability.WITHDRAW: "the activity is deleted",
    },
    lacks={
        Capability.READ_DELETIONS: "offline events are kept for applications only",
        Capability.READ_MERGES: _MERGES,
    },
)
