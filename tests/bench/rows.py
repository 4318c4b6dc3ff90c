"""Fills a table of the NAC's export by the million, inside the server: a campus with the oddities of a real one.

The same numbers give the same rows, but for the moment they end at. No more than the statements: what reads them is
measured elsewhere.
"""

import pymysql

VALIDITY = 7 * 86_400  # seconds: the window of a configuration that says nothing else
IPV4_EACH = 50  # one address in so many is IPv6
AT_ONCE = 500_000  # rows of one statement

_TENS = " UNION ALL ".join(f"SELECT {digit} AS d" for digit in range(10))
_NUMBERS = " CROSS JOIN ".join(f"({_TENS}) AS t{place}" for place in range(6))
_NUMBER = " + ".join(f"t{place}.d * {10**place}" for place in range(6))

# CRC32 is a hash that every server has: chance that can be had again.
_FILL = f"""
INSERT INTO clienthist
  (clientHistId, transType, transDate, sessionUID, currentIpAddress, principal, ugroupLabel, hostreftypeLabel,
   policyCompliance, winMachineName, macaddress, localIpAddress, routerIpAddress, osName)
SELECT
  id, 'POLICY', FROM_UNIXTIME(at - IF(chance %% 100 < 5, CRC32(CONCAT('l', id)) %% 3600, 0)),
  CONCAT('S', LPAD(HEX(id), 31, '0')),
  CASE oddity
    WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN 'unknown' WHEN 3 THEN '0.0.0.0' WHEN 4 THEN '169.254.7.7'
    WHEN 5 THEN '2001:db8:aaaa:b' WHEN 6 THEN '::ffff:9.8.7.6' WHEN 7 THEN '2001:DB8::AB'
    ELSE CONCAT(IF(oddity = 8, ' ', ''), address)
  END,
  CASE
    WHEN chance %% 997 < 20 THEN 'null,Guest'
    WHEN chance %% 997 < 30 THEN NULL
    WHEN chance %% 997 < 40 THEN 'svc-backup,Service'
    WHEN chance %% 997 < 45 THEN CONCAT('JDOE', LPAD(place * 2 + device, 7, '0'), ',Staff')
    ELSE CONCAT('jdoe', LPAD(place * 2 + device, 7, '0'), ',Students,Dorm West,Policy Key Installed')
  END,
  'Students', 'Dorm West', 'Compliant', CONCAT('PC-', LPAD(place, 7, '0')),
  CONCAT('02:00:', MID(mac, 1, 2), ':', MID(mac, 3, 2), ':', MID(mac, 5, 2), ':', MID(mac, 7, 2)),
  '192.168.1.7', '10.0.0.1', 'Windows 11'
FROM (
  SELECT
    id, place, chance, device, CRC32(CONCAT('o', id)) %% 2000 AS oddity,
    %(end)s - %(span)s + FLOOR((id - %(zero)s) * %(span)s / %(count)s) AS at,
    IF(place %% {IPV4_EACH} = {IPV4_EACH - 1} AND place < 65536,
       CONCAT('2001:db8::', LOWER(HEX(place))), INET_NTOA(167772416 + place)) AS address,
    LPAD(HEX(place * 4 + device), 8, '0') AS mac
  FROM (
    SELECT
      id, CRC32(CONCAT('p', id)) %% %(addresses)s AS place, CRC32(CONCAT('c', id)) AS chance,
      ELT(1 + CRC32(CONCAT('d', id)) %% 10, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2) AS device
    FROM (SELECT {_NUMBER} + %(first)s AS id FROM {_NUMBERS} WHERE {_NUMBER} < %(some)s) AS numbers
  ) AS people
) AS events
"""  # noqa: S608 (the numbers are ours)


def fill(
    connection: pymysql.Connection,
    count: int,
    addresses: int,
    *,
    first: int = 1,
    ends: int = 60,
    span: int = VALIDITY - 2 * 3600,  # the oldest do not leave the window while a bench goes on
) -> None:
    """Write `count` rows with ids from `first` on, spread over `span` seconds until `ends` seconds ago.

    A twentieth comes up to an hour late, one in 220 has an odd address, one in 22 names no user.
    """
    with connection.cursor() as cursor:
        cursor.execute("SET sql_mode = ''")
        cursor.execute("SELECT UNIX_TIMESTAMP()")
        ((now,),) = cursor.fetchall()
        for start in range(first, first + count, AT_ONCE):
            some = min(AT_ONCE, first + count - start)
            values = {
                "first": start,
                "some": some,
                "end": now - ends,
                "span": span,
                "zero": first,
                "count": count,
                "addresses": addresses,
            }
            cursor.execute(_FILL, values)


def add(connection: pymysql.Connection, count: int, addresses: int, *, seed: int) -> None:
    """Write a few rows more, dated now: other users at addresses that are known."""
    with connection.cursor() as cursor:
        cursor.execute("SET sql_mode = ''")
        for number in range(count):
            place = (seed * count + number) * 7 % addresses
            cursor.execute(
                "INSERT INTO clienthist (transType, transDate, currentIpAddress, principal, macaddress)"
                " VALUES ('POLICY', NOW(), INET_NTOA(167772416 + %s), %s, %s)",
                (place, f"new{seed:03}x{number:05},Staff", f"06:00:00:00:{number // 256:02x}:{number % 256:02x}"),
            )
