DELETE FROM held_back WHERE seen_at < ?
