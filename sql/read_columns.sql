-- The columns that this account may read, of which type they are and whether they are the primary key.
SELECT column_name, column_type, column_key FROM information_schema.columns
WHERE table_schema = DATABASE() AND table_name = 'clienthist'
