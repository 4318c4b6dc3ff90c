SELECT count(DISTINCT ip) FROM holding WHERE target = ? AND held_until > ?
