-- Logins, as a list of [address, user, minutes].
INSERT OR REPLACE INTO holding (target, ip, user, timeout, sent_at, held_until, in_doubt)
SELECT :target, json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
    :now, :now + json_extract(value, '$[2]') * 60000000, 0
FROM json_each(:logins)
