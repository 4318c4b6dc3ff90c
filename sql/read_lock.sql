-- Whether the lock is still this connection's; one that somebody reset, or a proxy passed on, has none.
SELECT IS_USED_LOCK(%s) = CONNECTION_ID()
