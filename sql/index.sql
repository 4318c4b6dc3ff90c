-- Two indexes, both optional. The first is for "uidsync who", "explain" and "events", which ask for dates, and for full reads
-- of a table whose ids do not grow with time: the log line source.scanned tells. Where ids grow with time, a full read finds
-- its window by the primary key. Tail reads, which are most of the runs, always do.
--
-- Measured on MariaDB 10.11 with 4 million rows (a year, 980 MB), 77 thousand of them in the window of 7 days, a buffer
-- pool of 128 MB, and the window query SELECT clientHistId, transDate, currentIpAddress, principal, macaddress
-- FROM clienthist WHERE transDate >= ? :
--
--                      EXPLAIN     in the server    rows fetched by uidsync
--     without          ALL         1.2 s            1.8 s
--     with             range       0.1 s            0.4 s
--
-- It costs 75 MB (a thirteenth of the table) and 2.5 s to build; inserts of 2,000 rows, 20 ms each, took no longer. An index
-- that held the other columns too was four and a half times the size and, fetching included, no faster.
--
-- MySQL 5.6 and later and MariaDB 10 build it while the appliance goes on writing; MySQL and MariaDB 5.5 hold its writes
-- back meanwhile. Needs the INDEX privilege, which the account of uidsync does not have.
-- To take it back: DROP INDEX transDate ON clienthist;

CREATE INDEX transDate ON clienthist (transDate);

-- The second is for "uidsync who", which asks for all rows of an address. Measured as above, on a busier machine, for an
-- address with 130 rows, and for a user with four addresses, whose rows are looked for in the window first:
--
--                                     who ADDRESS    who USER
--     without either                  1.6 to 2.3 s   3.0 to 3.9 s
--     with the index on transDate     1.6 to 2.3 s   1.9 to 2.6 s
--     with both                       0.02 s         0.3 to 0.5 s
--
-- It costs 121 MB and 10 to 17 s to build. With transDate as a second column it was 137 MB and no faster. For an address
-- with a fortieth of all rows (a proxy, say, that identity.exclude_networks should name) it is no gain: 5 s and more with
-- it, 3 s without. Questions for IPv6 addresses, which have many spellings, always scan the table.
--
-- To take it back: DROP INDEX currentIpAddress ON clienthist;

CREATE INDEX currentIpAddress ON clienthist (currentIpAddress);
