-- MariaDB from 10.3: a snapshot is idle while what was read is worked on.
SET SESSION idle_transaction_timeout = 0
