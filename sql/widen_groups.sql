-- A table of groups that outgrows memory is written to disk, and takes seven times as long: measured with 250,000 addresses,
-- which need 32 MB where a server's own limit is mostly 16 MB. No right is needed; it ends with the session.
SET SESSION tmp_table_size = GREATEST(@@SESSION.tmp_table_size, 134217728),
  SESSION max_heap_table_size = GREATEST(@@SESSION.max_heap_table_size, 134217728)
