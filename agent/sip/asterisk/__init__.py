"""The Asterisk source: calls followed and tapped through ARI, without a line in the dialplan.

`events` reads what Asterisk says, `facts` gathers it, `talks` and `state` make calls of it (all pure); `ari` speaks
HTTP and websocket, `tapping` has a leg's sound sent here, `source` keeps it all going, `check` is the doctor's.
"""
