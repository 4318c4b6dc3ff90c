"""IPsec tunnels for Zabbix, for Nagios and its like, and for people: one collection, one verdict, several forms.

What a firewall says by its command line is read here, too: start at `shell.make_shell_look`.
"""
