"""The same sites and targets as for the other tests of the real command."""

from tests.functional.conftest import agent, closed_port, database_site, firewall, site, small_site, start

__all__ = ["agent", "closed_port", "database_site", "firewall", "site", "small_site", "start"]
