"""HTTP and WebSocket client of the service, with typed answers.

`client.WiroClient` has one method per endpoint, `events.EventClient` streams a task's events over WebSocket,
`answers` holds the types that both return, `pricing` reads price tables and estimates costs. Wire names, HTTP
statuses and socket frames are known only here. The package creates no event loop: a client belongs to the loop on
which it is created. httpx2 and websockets are imported on first use.
"""
