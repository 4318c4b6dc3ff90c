-- The columns that indexes begin with; the primary key's at least, where the server lets this account see indexes.
SELECT column_name FROM information_schema.statistics
WHERE table_schema = DATABASE() AND table_name = 'clienthist' AND seq_in_index = 1
