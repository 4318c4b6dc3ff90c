-- MariaDB: groups are kept in memory.
SET SESSION max_session_mem_used = 9223372036854775807
