"""Every SQL statement that runs, and what a DBA runs by hand: table, grants, index."""
