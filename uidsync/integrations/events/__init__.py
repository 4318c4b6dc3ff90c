"""Security events of the firewalls, by person.

Imports `panos` and `config.values`. Who had an address is asked of a function that is handed in.
Start at `reporting.Run.make`.
"""
