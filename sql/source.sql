-- What uidsync runs on the source, by name. No statement uses anything newer than MySQL 5.5.
--
-- {macaddress} stands for the column, or for NULL AS macaddress where the account may not read it. Of a principal only the
-- beginning is read: the user name stands first, and roles may go on for megabytes.

-- ---- The session

-- name: session
-- Read dates in UTC, whatever the server's time zone. Wait half a minute for a locked table, not a year. A row limit that
-- the server sets for everybody would end a table early without an error.
SET SESSION time_zone = '+00:00', SESSION lock_wait_timeout = 30, SESSION sql_select_limit = 18446744073709551615

-- name: isolation
-- At any other level, the snapshot would not be consistent.
SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ

-- name: begin
START TRANSACTION WITH CONSISTENT SNAPSHOT

-- name: read_limits
-- Those of some limits that the server knows, as they are in this session. No right is needed.
SHOW SESSION VARIABLES WHERE Variable_name IN %s

-- name: lift_limit
-- The names and values are fixed: LIMITS in source/mysql_login.py.
SET SESSION {limit} = %s

-- name: limit_silence
-- The server ends a connection that is silent for this many seconds, and the lock with it: its host may be frozen or cut off.
-- A host that works asks every half second.
SET SESSION wait_timeout = 10

-- name: widen_groups
-- Keep groups in memory: on disk, grouping takes seven times as long. 250,000 addresses need 32 MB; the usual limit is 16 MB.
-- No right is needed. The setting ends with the session.
SET SESSION tmp_table_size = GREATEST(@@SESSION.tmp_table_size, 134217728),
  SESSION max_heap_table_size = GREATEST(@@SESSION.max_heap_table_size, 134217728)

-- ---- The lock

-- name: take_lock
-- 1: the lock is ours. 0: another connection has it. It lasts as long as the connection. No right is needed.
SELECT GET_LOCK(%s, 0)

-- name: read_lock
-- Whether this connection still has the lock. It has lost it if somebody reset the connection, or a proxy passed it on.
SELECT IS_USED_LOCK(%s) = CONNECTION_ID()

-- name: release_lock
SELECT RELEASE_LOCK(%s)

-- ---- The table

-- name: read_position
-- Where the table ends, and what the server's clock says. The primary key alone answers it.
SELECT MAX(clientHistId), UTC_TIMESTAMP() FROM clienthist

-- name: read_columns
-- The columns that this account may read, their types, how an index begins with them (PRI is the primary key), and how text
-- is stored in them.
SELECT column_name, column_type, column_key, CONCAT_WS(' ', character_set_name, collation_name)
FROM information_schema.columns
WHERE table_schema = DATABASE() AND table_name = 'clienthist'

-- name: read_size
-- How large the table is, in rows and bytes, by the server's estimate.
SELECT table_rows, data_length + index_length FROM information_schema.tables
WHERE table_schema = DATABASE() AND table_name = 'clienthist'

-- name: read_last
-- The row that was written last, by the primary key.
SELECT transDate FROM clienthist ORDER BY clientHistId DESC LIMIT 1

-- name: read_newest
-- The latest date up to one. It is asked for only if the row that was written last is old or has an odd date: without an
-- index on transDate it is a full scan.
SELECT MAX(transDate) FROM clienthist WHERE transDate <= %s

-- name: read_oldest
-- The oldest row that is left, by the primary key.
SELECT transDate FROM clienthist ORDER BY clientHistId LIMIT 1

-- ---- Login events

-- name: read_tail
-- The rows written since an id, and some others by their ids: ranges of the primary key.
SELECT clientHistId, transDate, currentIpAddress, LEFT(principal, 4096), {macaddress}
FROM clienthist
WHERE (clientHistId > %s OR clientHistId IN %s) AND transDate >= %s

-- name: read_window
-- Every row of the window: a full scan, unless there is an index on transDate.
SELECT clientHistId, transDate, currentIpAddress, LEFT(principal, 4096), {macaddress}
FROM clienthist
WHERE transDate >= %s

-- name: read_lowest
-- Where the table begins. The primary key alone answers it.
SELECT MIN(clientHistId) FROM clienthist

-- name: read_next
-- The first row from an id on, by the primary key. It is asked for several ids at once, with UNION ALL between.
(SELECT clientHistId, transDate FROM clienthist WHERE clientHistId >= %s ORDER BY clientHistId LIMIT 1)

-- name: read_groups
-- The newest row of every address in the window, and how many rows the address has there. A row that lies ahead or has no
-- principal stands alone: it says nothing, or only beside the newest.
-- Addresses are grouped by their bytes: a collation would join texts that uidsync tells apart. A row that stands alone is
-- grouped by its id. One text for both, in which the sign tells them apart, takes the server less time than two columns.
-- The date, in seconds since the window began, and the id make one number; the id is its lower 36 bits.
-- The limit keeps the order. Without it the rows of a large table would be fetched from all over the disk.
SELECT STRAIGHT_JOIN
  newest.clientHistId, newest.transDate, newest.currentIpAddress, LEFT(newest.principal, 4096), {macaddress},
  address.size
FROM (
  SELECT
    IF(principal > '' AND transDate <= %(latest)s, CONCAT(CAST('=' AS BINARY), currentIpAddress), clientHistId) AS spelling,
    COUNT(*) AS size,
    MAX((UNIX_TIMESTAMP(transDate) - %(began)s << 36) + clientHistId) & 68719476735 AS winner
  FROM clienthist
  WHERE transDate >= %(since)s AND clientHistId > %(past)s
  GROUP BY spelling
  ORDER BY spelling < '=', winner LIMIT 18446744073709551615
) AS address
JOIN clienthist AS newest ON newest.clientHistId = address.winner

-- name: read_hidden
-- Every row of these addresses that does not stand alone, or of all addresses.
SELECT clientHistId, transDate, currentIpAddress, LEFT(principal, 4096), {macaddress}
FROM clienthist
WHERE transDate >= %(since)s AND clientHistId > %(past)s AND transDate <= %(latest)s AND principal > ''
  AND (%(all)s OR currentIpAddress IN %(texts)s)

-- name: read_highest
-- The thousand rows of the window that were written last. They are found by the primary key, from its end: an index on
-- transDate would make the server sort the window.
SELECT clientHistId, transDate, currentIpAddress, LEFT(principal, 4096), NULL
FROM clienthist FORCE INDEX (PRIMARY)
WHERE transDate >= %(since)s AND clientHistId > %(past)s
ORDER BY clientHistId DESC LIMIT 1000

-- ---- The past of an address, for `who` and `explain`

-- name: read_addresses
-- Every row that may be of these IPv4 addresses. They may be spelled so that only uidsync can tell, with a blank in front or
-- inside an IPv6 address: such rows are read, too. A full scan, unless there is an index on currentIpAddress.
SELECT clientHistId, transDate, currentIpAddress, LEFT(principal, 4096), {macaddress}
FROM clienthist
WHERE currentIpAddress IN %s
  OR currentIpAddress LIKE ':%%' OR currentIpAddress LIKE '0:%%' OR currentIpAddress LIKE '00%%'
  OR (currentIpAddress < '0' AND currentIpAddress <> '')
  OR currentIpAddress >= 'g'

-- name: read_ipv6
-- Every row that may be of an IPv6 address, which has many spellings. Always a full scan.
SELECT clientHistId, transDate, currentIpAddress, LEFT(principal, 4096), {macaddress}
FROM clienthist
WHERE currentIpAddress LIKE '%%:%%'

-- name: read_user
-- Every row of the window that may name a user: its principal holds this part of the name, or letters whose case only uidsync
-- can tell. A full scan, unless there is an index on transDate.
SELECT clientHistId, transDate, currentIpAddress, LEFT(principal, 4096), {macaddress}
FROM clienthist
WHERE transDate BETWEEN %s AND %s
  AND (LOCATE(%s, LOWER(CONVERT(principal USING utf8mb4))) > 0
    OR LENGTH(CONVERT(principal USING utf8mb4)) <> CHAR_LENGTH(CONVERT(principal USING utf8mb4)))

-- name: read_machines
-- The names of machines, by the primary key.
SELECT clientHistId, winMachineName
FROM clienthist
WHERE clientHistId IN %s
