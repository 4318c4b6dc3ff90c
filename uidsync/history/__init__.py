"""Who had an address when: the source's rows, replayed; and where a person was.

Imports `source`, `ledger`, `plan` and below.
Start at `timeline.Timeline`, or at `rows.History`, which reads what it needs.
"""
