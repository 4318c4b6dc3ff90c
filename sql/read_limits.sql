-- Which limits of the server this session is under: a name for each that the server knows and has set. No right is needed.
SHOW SESSION VARIABLES WHERE
  Variable_name IN ('max_statement_time', 'max_execution_time', 'idle_transaction_timeout', 'idle_readonly_transaction_timeout',
    'max_tmp_session_space_usage') AND Value + 0 > 0
  OR Variable_name IN ('tmp_disk_table_size', 'max_session_mem_used', 'connection_memory_limit') AND Value + 0 < 9223372036854775807
  OR Variable_name = 'net_write_timeout' AND Value + 0 < 600
  OR Variable_name = 'wait_timeout' AND Value + 0 < 28800
  OR Variable_name = 'sql_big_selects' AND Value <> 'ON'
