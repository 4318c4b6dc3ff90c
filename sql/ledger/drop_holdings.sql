DELETE FROM holding WHERE target = ?
