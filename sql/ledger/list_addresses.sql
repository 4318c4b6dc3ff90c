SELECT ip FROM event
UNION
SELECT ip FROM holding WHERE target = :target
UNION
SELECT ip FROM held_back WHERE target = :target
ORDER BY ip
