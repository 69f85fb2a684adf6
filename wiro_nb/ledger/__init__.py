"""The ledger: every run in SQLite, with its states and transitions, queries, leases, migrations and recovery."""
