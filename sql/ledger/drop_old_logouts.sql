DELETE FROM logout WHERE at < ?
