DELETE FROM held_back WHERE target = :target AND ip IN (SELECT json_extract(value, '$[0]') FROM json_each(:logins))
