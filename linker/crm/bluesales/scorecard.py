"""What the connector of BlueSales does."""

from __future__ import annotations

from linker.crm.protocol import Capability, Scorecard

_NO_CALLS = "BlueSales has neither calls nor mails of its own, so nobody logs any"

SCORECARD = Scorecard(
    does={
        Capability.FIND_CARDS: "customers by number; it has no search by address",
        Capability.CREATE_CARDS: "customers with one number and one address",
        Capability.LOG_CALLS: "an entry in the comment of the customer",
        Capability.LOG_MAILS: "an entry in the comment of the customer",
        Capability.FIND_LOGGED: "our key in the comment",
        Capability.LINK_RECORDING: "in the entry",
        Capability.TRANSCRIPT: "in the entry, up to six thousand characters",
        Capability.UPDATE: "in place, or out of one comment and into the other",
        Capability.WITHDRAW: "the entry goes",
        Capability.LIST_USERS: "by login",
        Capability.READ_CARDS: "all of them in sweeps, every hour",
    },
    lacks={
        Capability.FIND_FOREIGN: _NO_CALLS,
        Capability.UPLOAD_RECORDING: "it keeps no files of customers by its API",
        Capability.READ_DEALS: "its orders are those of a shop, without a pipeline",
        Capability.STAGE_HISTORY: "it tells the state of a customer as it is now only",
        Capability.READ_DELETIONS: "a deleted customer is just not listed any more",
        Capability.READ_MERGES: "it does not tell of them",
    },
)
