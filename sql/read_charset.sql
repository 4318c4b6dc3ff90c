-- How names are stored: this account may read it of a column that it may read.
SELECT character_set_name, collation_name FROM information_schema.columns
WHERE table_schema = DATABASE() AND table_name = 'clienthist' AND column_name = 'principal'
