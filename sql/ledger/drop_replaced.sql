-- One address has one user: an accepted login takes the place of whatever was there.
DELETE FROM holding WHERE target = :target AND ip IN (SELECT json_extract(value, '$[0]') FROM json_each(:logins))
