"""IPsec tunnels for Zabbix, for Nagios and its like, and for people: one collection, one verdict, several forms."""
