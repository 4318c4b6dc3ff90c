-- MariaDB from 11.5: groups that outgrow memory are written to disk.
SET SESSION max_tmp_session_space_usage = 0
