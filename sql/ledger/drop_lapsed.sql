DELETE FROM holding WHERE held_until < ?
