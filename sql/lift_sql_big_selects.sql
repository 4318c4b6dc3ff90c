-- Else the server refuses what may look at more rows than max_join_size: a full read looks at all.
SET SESSION sql_big_selects = 1
