SELECT ip, user, timeout, sent_at, held_until, in_doubt FROM holding WHERE target = ?
