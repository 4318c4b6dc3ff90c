-- How large the table is, in rows and bytes, by the server's estimate.
SELECT table_rows, data_length + index_length FROM information_schema.tables
WHERE table_schema = DATABASE() AND table_name = 'clienthist'
