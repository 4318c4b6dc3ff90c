-- Dates are read in UTC, whatever the server's zone. A table that another session has locked is waited for half a minute and
-- not for a year. A limit that the server has for everybody would end a table early, without a word.
SET SESSION time_zone = '+00:00', SESSION lock_wait_timeout = 30, SESSION sql_select_limit = 18446744073709551615
