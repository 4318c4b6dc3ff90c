"""A PAN-OS firewall and a Windows User-ID agent on loopback: for the demo, for rehearsals and for the tests.

Start at `firewall.py`, and at `process.py`, which starts them.

They are built from what the vendor and its users have published and know nothing else of uidsync, so that one
mistake about a protocol cannot stand on both sides of a test.
"""
