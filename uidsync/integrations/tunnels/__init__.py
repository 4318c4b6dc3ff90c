"""IPsec tunnels for Zabbix, for Nagios and its like, and for people: one collection, one verdict, several forms.

Imports `panos` and `config.values`.
Start at `answers.answer`; a firewall's command line is read from `shell.make_shell_look` on.
"""
