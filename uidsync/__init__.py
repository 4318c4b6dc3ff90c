"""Keeps Palo Alto Networks User-ID true to a NAC.

Read login events from the NAC, plan one user per address, deliver to every target what it lacks,
report what became of it: the modules are that sentence, in its order.
"""

__version__ = "0.1.0"
