-- Dates are read in UTC, whatever the server's zone.
SET SESSION time_zone = '+00:00'
