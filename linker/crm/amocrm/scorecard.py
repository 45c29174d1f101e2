"""What the connector of amoCRM and Kommo does."""

from __future__ import annotations

from linker.crm.protocol import Capability, Scorecard

SCORECARD = Scorecard(
    does={
        Capability.FIND_CARDS: "contacts and companies by the last ten digits or the address, checked again here",
        Capability.CREATE_CARDS: "contacts and companies",
        Capability.LOG_CALLS: 'a call on the card that is meant; with options.calls = "number" by POST /api/v4/calls, '
        "which puts it into the card's open lead; where it knows nobody it drops it, and we put it on the card",
        Capability.LOG_MAILS: "a note with the mail in words: API v4 takes no mails",
        Capability.FIND_LOGGED: "our key in params.uniq or in the last line of the note",
        Capability.FIND_FOREIGN: "calls of the card by number and time; mails of its own mailboxes are in no API",
        Capability.LINK_RECORDING: "the player of the card plays it",
        Capability.TRANSCRIPT: "a note beside the call",
        Capability.UPDATE: "in place; on another card it is made anew and the old note is emptied",
        Capability.WITHDRAW: "notes are emptied of all content: API v4 deletes none",
        Capability.LIST_USERS: "names and addresses; it knows no extensions",
        Capability.READ_CARDS: "contacts and companies by updated_at",
        Capability.READ_DEALS: "leads with amount and reason of loss",
        Capability.STAGE_HISTORY: "events lead_status_changed, of the last ninety days at the start",
        Capability.READ_DELETIONS: "events contact_deleted, company_deleted, lead_deleted",
    },
    lacks={
        Capability.UPLOAD_RECORDING: "amoCRM keeps no sound of calls; it plays a link",
        Capability.READ_MERGES: "the event entity_merged does not say into what; the loser is seen as deleted",
    },
)
