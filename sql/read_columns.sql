-- The columns that this account may read.
SELECT column_name FROM information_schema.columns
WHERE table_schema = DATABASE() AND table_name = 'clienthist'
