DELETE FROM holding WHERE target = ? AND ip = ? AND user = ?
