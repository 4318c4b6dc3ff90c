"""What is to be sent: the newest event of each address, what a target lacks, and what would be too much to send.

Imports `ledger` and below. All is pure but `dispatch`, which fetches what the rest decides on.
Start at `due.make_plan`.
"""
