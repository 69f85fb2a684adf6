"""Run records: builds, hashes, embeds, finds and exports them.

A record is plain JSON with everything needed to make a clip again. It is written to four places (ledger, sidecar,
notebook, the clip itself), so that any one of them is enough. Reading one needs no network and no video library.
"""
