-- MariaDB, and MySQL 5.7 before 5.7.8: a full read of a large table takes longer than what such a limit is meant for.
SET SESSION max_statement_time = 0
