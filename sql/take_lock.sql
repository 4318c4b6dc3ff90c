-- 1: it is ours. 0: another connection has it. It lasts as long as the connection, and needs no right.
SELECT GET_LOCK(%s, 0)
