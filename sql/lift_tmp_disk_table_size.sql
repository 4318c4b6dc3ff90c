-- MariaDB: groups that outgrow memory are written to disk.
SET SESSION tmp_disk_table_size = 18446744073709551615
