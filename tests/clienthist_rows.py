"""Makes rows of clienthist: ordinary weeks on a campus, with every oddity that a real table may hold mixed in.

Seeded, so that a failure can be had again. Values are as the database gives them back: dates in UTC without a zone,
addresses cut to the column's 15 characters. Text is meant for a utf8mb4 table. No I/O.
"""

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

Row = tuple[int, datetime | str, str | None, str | None, str | None]
"""clientHistId, transDate, currentIpAddress, principal, macaddress."""

ZERO_DATE = "0000-00-00 00:00:00"

# What principal may hold on a device of the user's: variants of a kind are equally likely.
PRINCIPALS: dict[str, Callable[[str], tuple[str | None, ...]]] = {
    "user and roles": lambda name: (name, f"{name},Staff", f"{name},Students,Dorm West,VPN", f"{name},"),
    "other case": lambda name: (name.upper(), f"{name.title()},Staff", f"CAMPUS\\{name.upper()},Staff"),
    "padded": lambda name: (f"  {name}", f"{name} ,Staff", f"\t{name}\r\n,Staff", f"\u3000{name}\xa0"),
    "realm": lambda name: (f"{name}@example.edu,Staff", f"{name.upper()}@EXAMPLE.EDU", f"{name}@other.example"),
    "domain": lambda name: (f"CAMPUS\\{name},Staff", f"campus\\{name}", f"LAB\\{name}"),
    "unicode": lambda name: (f"jürgen.{name}", f"Ödön.{name},Staff", f"李雷.{name}", f"İpek.{name}", f"😀{name}"),
    "markup": lambda name: (f"{name}<&>\"'", f"<entry name='{name}'/>", f"&amp;{name}", f"{name}]]>,Staff"),
    "inner blank": lambda name: (f"Jane {name},Staff", f"{name} (guest)"),
    "digits": lambda _: ("0", "1042,Staff"),
    "not logged in": lambda _: ("null", "NULL", "Null,Staff", " nUlL ,Staff,VPN"),
    "only roles": lambda _: (",Staff", "  ,Staff,VPN", ","),
    "blank": lambda _: (None, "", "   ", "\t"),
    "service": lambda _: ("svc-backup", "SVC-Scan,Service", "CAMPUS\\svc-print", "svc-wsus@example.edu,Service"),
    "machine": lambda _: ("PC-0042$", "CAMPUS\\PC-0042$,Computers", "pc-0042$@EXAMPLE.EDU"),
    "host principal": lambda _: ("host/pc-0042.example.edu", "host/pc-0042.example.edu,Computers"),
    "control": lambda name: tuple(f"{name[:2]}{char}{name[2:]},Staff" for char in "\0\x07\n\x1b\x7f\x9f"),
    "beyond XML": lambda name: (f"{name[:2]}\ufffe{name[2:]}", f"{name[:2]}\uffff{name[2:]},Staff"),
    "unseen": lambda _: ("\u200b", "\ufeff\u2060,Staff", "CAMPUS\\\u200d", "\u3164@example.edu", "\ufe0f\u0301"),
    "long": lambda name: tuple(name.ljust(size, "x") + ",Staff" for size in (248, 249, 255, 256, 4000)),
}

# What currentIpAddress may hold instead of an ordinary address.
ADDRESSES: dict[str, tuple[str | None, ...]] = {
    "none": (None, "", "   ", "unknown", "10.1.2", "10.1.2.3.4", "999.1.2.3", "10.1.2.3/24", "010.001.002.003"),
    "unspecified": ("0.0.0.0", "::", "::ffff:0.0.0.0"),  # noqa: S104
    "loopback": ("127.0.0.1", "127.8.9.10", "::1"),
    "link-local": ("169.254.0.1", "169.254.200.7", "fe80::1"),
    "multicast": ("224.0.0.251", "239.255.255.250", "ff02::1:2"),
    "broadcast": ("255.255.255.255",),
    "padded": ("10.0.1.7       ", "10.0.1.8 ", " 10.0.1.9"),
    "short IPv6": ("2001:db8::12:3", "2001:DB8::12:3", "2001:db8:0::9", "fd00::42"),
    "IPv6 of 15": ("2001:db8::12:34", "2001:db8:1:2::3", "fd00:1:2:3:4::5"),
    "cut": ("2001:db8:aaaa:b", "2001:db8:1:2:3:", "fe80::aaaa:bbbb"),
    "mapped": ("::ffff:10.0.1.7", "::ffff:9.8.7.6", "::FFFF:9.8.7.6", "::ffff:a00:107"),
}

# Where transDate may lie off the ordinary course of time; the last seconds of the window's far end among them.
DATES: dict[str, Callable[[datetime, timedelta], tuple[datetime | str, ...]]] = {
    "zero": lambda _now, _validity: (ZERO_DATE,),
    "far ahead": lambda now, _: tuple(now + timedelta(minutes=m) for m in (15, 60, 300, 3000)),
    "hardly ahead": lambda now, _: tuple(now + timedelta(seconds=s) for s in (1, 60, 240)),
    "long ago": lambda now, validity: (now - 2 * validity, datetime(1970, 1, 1, 0, 0, 1)),  # noqa: DTZ001
}
EDGES: dict[str, Callable[[datetime, timedelta], tuple[datetime | str, ...]]] = {
    "five minutes ahead": lambda now, _: tuple(now + timedelta(seconds=s) for s in (299, 300, 301)),
    "window's end": lambda now, validity: tuple(now - validity + timedelta(seconds=s) for s in (-1, 0, 1)),
    "last minute": lambda now, validity: tuple(now - validity + timedelta(seconds=s) for s in (59, 60, 119, 120)),
}


def make_rows(  # noqa: PLR0913
    count: int,
    addresses: int,
    now: datetime,
    *,
    seed: int = 0,
    validity: timedelta = timedelta(days=7),
    first_id: int = 1,
    edges: bool = True,
    oddity: float = 0.25,
) -> Iterator[Row]:
    """Yield rows in the order of their ids, spread over a little more than the validity that ends now.

    `oddity` is the share of odd principals; odd addresses and odd dates are a fifth and a tenth as common. The last
    rows go through every kind once. `edges` adds dates on the limits themselves, for those who pass the same `now`
    to whom they test; against a running clock such a row may fall to either side.
    """
    rng = random.Random(seed)
    now = now.astimezone(UTC).replace(microsecond=0, tzinfo=None)
    dates = DATES | (EDGES if edges else {})
    kinds = [(table, kind) for table in (PRINCIPALS, ADDRESSES, dates) for kind in table]
    start, step = now - validity * 1.05, validity * 1.05 / max(count, 1)
    latest: dict[int, datetime] = {}  # per place, for events in the same second
    row_id = first_id - 1
    for number in range(count):
        table, kind = kinds[number - count + len(kinds)] if number >= count - len(kinds) else (None, "")
        row_id += rng.choice((1, 1, 1, 2, 5))
        # An odd date decides about an address of its own: of others something newer is known.
        place = addresses + number if table is dates else rng.randrange(addresses)
        device = rng.choices((0, 1, 2), (70, 25, 5))[0]

        name = f"jdoe{(place * 2 + device) % max(addresses, 2):05}"
        if table is not PRINCIPALS:
            kind_of_name = rng.choice(tuple(PRINCIPALS)) if rng.random() < oddity else "user and roles"
        else:
            kind_of_name = kind
        principal = rng.choice(PRINCIPALS[kind_of_name](name))

        address: str | None = make_address(place)
        if table is ADDRESSES:
            address = rng.choice(ADDRESSES[kind])
        elif rng.random() < oddity / 5:
            address = rng.choice(ADDRESSES[rng.choice(tuple(ADDRESSES))])

        at: datetime | str
        if table is dates:
            at = rng.choice(dates[kind](now, validity))
        elif rng.random() < oddity / 10:
            at = rng.choice(dates[rng.choice(tuple(dates))](now, validity))
        else:
            at = (start + step * number).replace(microsecond=0)
            fate = rng.random()
            if fate < 0.05:
                at = latest.get(place, at)
            elif fate < 0.08:  # a late writer: its ids are high, its dates are old
                at -= timedelta(seconds=rng.randrange(3600))
            latest[place] = at
        yield row_id, at, address, principal, make_mac(rng, place, device)


def make_address(place: int) -> str:
    """Return a place's address: IPv4, and for one in fifty IPv6 that is short enough for the column."""
    if place % 50 == 49 and place <= 0xFFFF:
        return f"2001:db8::{place:x}"
    return str(IPv4Address("10.0.0.0") + 256 + place)


def make_mac(rng: random.Random, place: int, device: int) -> str | None:
    """Return the MAC of a device in one of its spellings, or now and then none."""
    digits = f"02{place * 4 + device:010x}"
    pairs = [digits[i : i + 2] for i in range(0, 12, 2)]
    return rng.choices(
        (
            ":".join(pairs),
            "-".join(pairs).upper(),
            ".".join(digits[i : i + 4] for i in (0, 4, 8)),
            digits,
            None,
            "",
        ),
        (40, 20, 10, 10, 15, 5),
    )[0]
