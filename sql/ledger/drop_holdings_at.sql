-- One address has one user: an accepted login takes the place of whatever was there.
DELETE FROM holding WHERE target = ? AND ip IN (SELECT value FROM json_each(?))
