"""A PAN-OS firewall and a Windows User-ID agent on loopback: the demo, rehearsals, the tests."""
