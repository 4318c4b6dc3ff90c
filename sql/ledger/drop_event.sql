DELETE FROM event WHERE ip = ?
