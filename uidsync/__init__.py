"""Keeps Palo Alto Networks User-ID true to a NAC.

Read login events from the NAC, plan one user per address, deliver to every target what it lacks, report the result: the
folders are that sentence, in its order. ARCHITECTURE.md says in plain words what each rule means that modules name.
"""

__version__ = "0.1.0"
