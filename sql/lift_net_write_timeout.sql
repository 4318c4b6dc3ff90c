-- How long the server waits while what it sent is worked on. The run has a deadline of its own.
SET SESSION net_write_timeout = 600
