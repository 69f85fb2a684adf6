"""What a run was: records, and finding, checking and comparing them.

A record is plain JSON that says everything needed to make a clip again. It is written to four
places (ledger, sidecar, notebook, the clip itself), so that any one of them is enough.

May import `schema`, `errors` and `redaction` only, and the standard library: reading a record
needs no network, no widgets and no video library. `runs` builds records with this room at the end
of a run, so it lies below `runs`.
"""
