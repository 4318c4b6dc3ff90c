-- A logout is about to be sent: whether the mapping is still there is not known until it is answered.
UPDATE holding SET in_doubt = 1 WHERE target = ? AND ip = ? AND user = ?
