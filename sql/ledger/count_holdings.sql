SELECT count(*), coalesce(sum(in_doubt), 0) FROM holding WHERE target = ? AND held_until > ?
