SELECT coalesce(sum(entries), 0) FROM logout WHERE target = ? AND at > ?
