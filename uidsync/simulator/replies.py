"""Knows how a PAN-OS device words its answers, byte for byte where a device's answer has been published.

Pure: no I/O, no clock. Two dialects exist. The web front end answers keys, roles and parameters
(`status = 'error' code = '403'`, blanks and single quotes); the management server answers the rest.
"""

import re
from collections.abc import Iterable, Sequence
from collections.abc import Mapping as Dictionary
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from time import gmtime, strftime

from uidsync.simulator.around import Around
from uidsync.simulator.table import LogRecord, Mapping, Rejected

# How XML shows a mapping that never expires has not been published; the CLI prints this word.
NEVER = "Never"
FIRST_USER_TAGS = 9, 1  # the release of PAN-OS that they came with

UNAUTHORIZED = b'<response status="unauth" code="16"><msg><line>Unauthorized request</line></msg></response>'
SESSION_TIMED_OUT = b'<response status="unauth" code="22"><msg><line>Session timed out</line></msg></response>'
EMPTY = b'<response status="success"><result/></response>'


def front_end_error(code: int, text: str) -> bytes:
    """Word an error as the web front end does."""
    return f"<response status = 'error' code = '{code}'><result><msg>{escape(text)}</msg></result></response>".encode()


INVALID_KEY = front_end_error(403, "Invalid Credential")
INVALID_KEY_OLD = front_end_error(403, "Invalid credentials.")


def role_missing(request_type: str) -> bytes:
    """Refuse a type of request that the administrator's role does not allow."""
    return front_end_error(403, f"Type [{request_type}] not authorized for user role.")


def key(value: str) -> bytes:
    """Hand out an API key."""
    return f"<response status = 'success'><result><key>{escape(value)}</key></result></response>".encode()


def error(text: str, code: int | None = None) -> bytes:
    """Word an error as the management server does."""
    attribute = "" if code is None else f' code="{code}"'
    return f'<response status="error"{attribute}><msg><line>{escape(text)}</line></msg></response>'.encode()


def success(result: str) -> bytes:
    """Wrap a result that is XML already."""
    return f'<response status="success"><result>{result}</result></response>'.encode()


def text_result(text: str) -> bytes:
    """Wrap what an operational command prints."""
    return success(f"<![CDATA[{text}]]>")


def applied(rejected: Dictionary[str, Iterable[Rejected]]) -> bytes:
    """Answer a `uid-message`: the sections that were sent, each with the entries that were not taken."""
    if not any(rejected.values()):
        sections = "".join(f"<{name}></{name}>" for name in rejected)
        return success(f"<uid-response><version>2.0</version><payload>{sections}</payload></uid-response>")
    sections = "".join(
        f"    <{name}>\n{''.join(map(_rejected, entries))}    </{name}>\n" for name, entries in rejected.items()
    )
    return (
        '<response status="error"><msg><line><uid-response>\n  <version>2.0</version>\n  <payload>\n'
        f"{sections}  </payload>\n</uid-response></line></msg></response>"
    ).encode()


def _rejected(entry: Rejected) -> str:
    attributes = "".join(f'{name}="{_attribute(value)}" ' for name, value in entry.attributes)
    return f'      <entry {attributes}message="{_attribute(entry.message)}"/>\n'


def _attribute(value: str) -> str:
    return escape(value).replace("\n", "&#10;").replace("\t", "&#9;").replace("\r", "&#13;")


def mappings(rows: Iterable[Mapping], now: float) -> bytes:
    """List mappings with the seconds that each has left, and their count."""
    shown = [_mapping(row, now) for row in rows]
    return success("\n".join([*shown, f"<count>{len(shown)}</count>\n"]))


def one_mapping(row: Mapping | None, now: float) -> bytes:
    """Show the mapping of an address, or an empty result."""
    return success("" if row is None else _mapping(row, now))


def _mapping(row: Mapping, now: float) -> str:
    left = row.seconds_left(now)
    shown = NEVER if left is None else left
    return (
        f"<entry><ip>{row.ip}</ip><vsys>{row.vsys}</vsys><type>{row.source}</type><user>{escape(row.user)}</user>"
        f"<idle_timeout>{shown}</idle_timeout><timeout>{shown}</timeout></entry>"
    )


def count(rows: Iterable[Mapping]) -> bytes:
    """Answer only how many mappings there are."""
    return success(f"<count>{sum(1 for _row in rows)}</count>")


def tags(attribute: str, rows: Iterable[tuple[str, Iterable[str]]]) -> bytes:
    """List registered addresses or users and their tags."""
    shown = [
        f'<entry {attribute}="{_attribute(whose)}"><tag>'
        + "".join(f"<member>{escape(tag)}</member>" for tag in members)
        + "</tag></entry>"
        for whose, members in rows
    ]
    return success("".join([*shown, f"<count>{len(shown)}</count>"]))


@dataclass(frozen=True, slots=True)
class Identity:
    """What a device says of itself."""

    hostname: str = "fw-simulated"
    model: str = "PA-VM"
    serial: str = "007200001056"
    version: str = "10.2.9"
    multi_vsys: bool = False
    around: Around = field(default_factory=Around)

    @property
    def switch(self) -> str:
        """Whether there are several virtual systems, as a device writes it."""
        return "on" if self.multi_vsys else "off"

    @property
    def takes_user_tags(self) -> bool:
        """Whether its release of PAN-OS knows tags of users."""
        found = re.match(r"([0-9]+)\.([0-9]+)", self.version)
        return not found or (int(found[1]), int(found[2])) >= FIRST_USER_TAGS


def system_info(device: Identity, now: float) -> bytes:
    """Answer `show system info`; the time ends with a line break, as a device's does."""
    return success(
        f"<system><hostname>{escape(device.hostname)}</hostname><ip-address>127.0.0.1</ip-address>"
        f"<time>{strftime('%a %b %e %H:%M:%S %Y', gmtime(now))}\n</time><family>vm</family>"
        f"<model>{device.model}</model><serial>{device.serial}</serial><sw-version>{device.version}</sw-version>"
        f"{device.around.write_uptime()}<app-version>8795-8489</app-version><multi-vsys>{device.switch}</multi-vsys>"
        "<operational-mode>normal</operational-mode></system>"
    )


def devices(serials: Iterable[str]) -> bytes:
    """Answer `show devices all` of a Panorama."""
    entries = "".join(
        f'<entry name="{serial}"><serial>{serial}</serial><hostname>fw-{serial}</hostname></entry>'
        for serial in map(escape, serials)
    )
    return success(f"<devices>{entries}</devices>")


def version(device: Identity) -> bytes:
    """Answer `type=version`."""
    return (
        f'<response status = "success"><result><sw-version>{device.version}</sw-version>'
        f"<multi-vsys>{device.switch}</multi-vsys><model>{device.model}</model><serial>{device.serial}</serial>"
        "</result></response>"
    ).encode()


def ha_state(state: str, peer: str, age: int | None) -> bytes:
    """Answer `show high-availability state`; the state "off" stands for a device without high availability."""
    if state == "off":
        return success("<enabled>no</enabled>")
    return success(
        "<enabled>yes</enabled><group><mode>Active-Passive</mode>"
        f"<local-info><mode>Active-Passive</mode><state>{state}</state>"
        f"{'' if age is None else f'<state-duration>{age}</state-duration>'}</local-info>"
        f"<peer-info><conn-status>up</conn-status><state>{peer}</state></peer-info>"
        "<running-sync>synchronized</running-sync><running-sync-enabled>yes</running-sync-enabled></group>"
    )


def job_enqueued(number: int) -> bytes:
    """Answer a request for logs with the number to ask for them by."""
    return (
        f'<response status="success" code="19"><result><msg><line>query job enqueued with jobid {number}</line></msg>'
        f"<job>{number}</job></result></response>"
    ).encode()


def commit_job(number: str, failure: str | None) -> bytes:
    """Answer how a commit ended: well, or with the words of what failed; None is one that is at work."""
    state, result = ("ACT", "PEND") if failure is None else ("FIN", "FAIL" if failure else "OK")
    words = failure or ("Configuration committed successfully" if failure is not None else "")
    return success(
        f"<job><id>{number}</id><type>Commit</type><status>{state}</status><result>{result}</result>"
        f"<details><line>{escape(words)}</line></details></job>"
    )


def job_at_work(number: str, state: str, now: float) -> bytes:
    """Answer that a log job waits (PEND) or is at work (ACT): then there is no log."""
    return success(_job(number, state, now))


def _job(number: str, state: str, now: float) -> str:
    clock = strftime("%H:%M:%S", gmtime(now))
    times = f"<tenq>{clock}</tenq><tdeq>{clock}</tdeq><tlast>{clock}</tlast>"
    return f"<job>{times}<status>{state}</status><id>{number}</id></job>"


def job(number: str, entries: Sequence[str], now: float) -> bytes:
    """Answer what became of a log job: it is done, and these are its entries."""
    return success(
        f'{_job(number, "FIN", now)}<log><logs count="{len(entries)}" progress="100">{"".join(entries)}</logs></log>'
    )


def log_fields(record: LogRecord, serial: str, device: Identity) -> dict[str, str]:
    """Return what a record of the USERID log says, with the firewall's serial."""
    at = strftime("%Y/%m/%d %H:%M:%S", gmtime(record.at))
    fields = {
        "logid": record.seqno, "receive_time": at, "serial": serial, "seqno": record.seqno, "type": "USERID",
        "subtype": record.subtype, "time_generated": at, "vsys": record.vsys, "ip": record.ip, "user": record.user,
        "datasourcename": "", "eventid": 0, "repeatcnt": 1, "timeout": record.timeout, "beginport": 0, "endport": 0,
        "datasource": datasource(record), "datasourcetype": "", "device_name": device.hostname,
    }  # fmt: skip
    return {name: str(value) for name, value in fields.items()}


def clock(shown: datetime) -> bytes:
    """Answer `show clock`, as `date` prints the time."""
    return success(f"{shown:%a %b} {shown.day:2} {shown:%H:%M:%S %Z %Y}\n")


def datasource(record: LogRecord) -> str:
    """Name a mapping's source as a log does; what a log says of XML API pushes is not published."""
    return {"XMLAPI": "xml-api", "UIA": "agent", "AD": "active-directory"}.get(record.source, record.source.lower())


def log_line(record: LogRecord, device: Identity) -> str:
    """Write a record as a line of the USERID log: the fields of PAN-OS 9.1, in their order."""
    at = strftime("%Y/%m/%d %H:%M:%S", gmtime(record.at))
    return ",".join(
        str(field)
        for field in (
            1, at, device.serial, "USERID", record.subtype, 2305, at, record.vsys, record.ip, record.user, "", 0, 1,
            record.timeout, 0, 0, datasource(record), "", record.seqno, "0x0", 0, 0, 0, 0, "", device.hostname,
            record.vsys.removeprefix("vsys"), "", at, 1, "0x80", record.user,
        )
    )  # fmt: skip
