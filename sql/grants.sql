-- The account that uidsync reads with: it may see six columns of one table and change nothing.
-- On MySQL 8 and later it logs in by caching_sha2_password: uidsync then needs source.ca_file, the CA of the server's certificate.
-- Run as an administrator on the server that holds the export, on MySQL 5.5 to 9 or MariaDB, after replacing
--     CHANGE-ME    by a long random password (openssl rand -base64 24 makes one). The same text, alone, goes into
--                  /etc/uidsync/credentials/source-password on the host of uidsync.
--     '%'          in both statements, by that host's address as the server sees it, such as '192.0.2.10'
--     backupDB     by the export's database, where it has another name
-- To take it back: DROP USER 'uidsync'@'%';

CREATE USER 'uidsync'@'%' IDENTIFIED BY 'CHANGE-ME';

-- macaddress tells devices apart on one address; winMachineName is what "uidsync who" shows beside it.
GRANT SELECT (clientHistId, transDate, currentIpAddress, principal, macaddress, winMachineName)
  ON backupDB.clienthist TO 'uidsync'@'%';

-- Where the server speaks TLS, this demands it of the account:
--     MySQL 5.7 and later, MariaDB 10.2 and later:  ALTER USER 'uidsync'@'%' REQUIRE SSL;
--     before:                                       GRANT USAGE ON *.* TO 'uidsync'@'%' REQUIRE SSL;
