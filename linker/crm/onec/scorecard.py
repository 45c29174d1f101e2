"""What the connector of 1C does."""

from __future__ import annotations

from linker.crm.protocol import Capability, Scorecard

SCORECARD = Scorecard(
    does={
        Capability.FIND_CARDS: "partners by the last ten digits or the address in their contact information",
        Capability.CREATE_CARDS: "partners with contact information",
        Capability.LOG_CALLS: "a document «Телефонный звонок»",
        Capability.LOG_MAILS: "documents «Электронное письмо», the outgoing one with the state «Отправлено»",
        Capability.FIND_LOGGED: "our key in the comment of documents of that time",
        Capability.FIND_FOREIGN: "calls by number and time, mails by Message-ID",
        Capability.LINK_RECORDING: "in the text of the call",
        Capability.TRANSCRIPT: "in the text of the call",
        Capability.UPDATE: "in place: partner, employee, times",
        Capability.WITHDRAW: "emptied and marked for deletion, as everything in 1C",
        Capability.LIST_USERS: "without addresses and extensions, which are not in the catalogue itself",
        Capability.READ_CARDS: "by a field with the time of change where options.partner_changed names one, else all "
        "of them every half hour",
        Capability.READ_DEALS: "with state and amount, all of them every half hour",
        Capability.READ_DELETIONS: "marks of deletion",
    },
    lacks={
        Capability.UPLOAD_RECORDING: "attached files of 1C lie on volumes that OData does not write to",
        Capability.STAGE_HISTORY: "1C keeps stages in registers of each configuration's own",
        Capability.READ_MERGES: "«Удаление дублей» leaves a mark of deletion and no word of what took its place",
    },
)
