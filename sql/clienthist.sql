-- The table that SafeConnect (OPSWAT NAC) writes to, as its vendor describes it: every column, one key, no other index.
-- It belongs to the appliance's export; uidsync only reads it. Here to rehearse, to test, and to create a new export's table.
-- Runs unchanged on MySQL 5.5 to 8 and MariaDB. Run it inside the export's database:
--     mysql backupDB < clienthist.sql
--
-- On servers with explicit_defaults_for_timestamp=0 (the default before MySQL 8.0 and MariaDB 10.10), transDate gets ON UPDATE
-- CURRENT_TIMESTAMP by itself: there, any UPDATE of a row moves its date. Never UPDATE this table.

CREATE TABLE clienthist (
  clientHistId             bigint(20) unsigned   NOT NULL AUTO_INCREMENT,
  transType                char(15)              NOT NULL,
  transDate                timestamp             NOT NULL,
  clientId                 bigint(20) unsigned   NOT NULL DEFAULT 0,
  sessionUID               varchar(32)           NOT NULL DEFAULT '',
  currentIpAddress         char(15)              DEFAULT NULL,
  principal                text,
  ugroupId                 mediumint(9) unsigned DEFAULT NULL,
  ugroupLabel              varchar(255)          DEFAULT NULL,
  hostreftypeId            mediumint(9) unsigned NOT NULL DEFAULT 0,
  hostreftypeLabel         varchar(255)          NOT NULL DEFAULT '',
  policyCompliance         text,
  winMachineName           varchar(85)           DEFAULT NULL,
  macaddress               varchar(25)           DEFAULT NULL,
  localIpAddress           char(15)              DEFAULT NULL,
  routerIpAddress          char(15)              DEFAULT NULL,
  webMessageId             mediumint(9) unsigned DEFAULT NULL,
  webMessageLabel          varchar(150)          DEFAULT NULL,
  webMessageViewName       varchar(50)           DEFAULT NULL,
  osName                   varchar(25)           DEFAULT NULL,
  outCompliancePolicyId    mediumint(9) unsigned NOT NULL DEFAULT 0,
  outCompliancePolicyLabel varchar(255)          DEFAULT NULL,
  outComplianceadminMsgIds varchar(255)          DEFAULT NULL,
  groupUpdated             tinyint(1)            NOT NULL DEFAULT 0,
  quarantined              tinyint(1)            NOT NULL DEFAULT 0,
  ilan                     tinyint(1)            NOT NULL DEFAULT 0,
  PRIMARY KEY (clientHistId)
) ENGINE=InnoDB;
