DELETE FROM held_back WHERE target = ? AND ip = ?
