"""Who had an address: the source's rows, replayed; and where a person was.

Imports `source`, `ledger`, `plan` and below.
Start at `who.find_who`.
"""
