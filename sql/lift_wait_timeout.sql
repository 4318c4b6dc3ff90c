-- How long the server waits for the next question. The run has a deadline of its own.
SET SESSION wait_timeout = 28800
