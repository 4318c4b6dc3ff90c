"""What uidsync is compared with: small honest programs, each run as a process of its own.

plain        the way an administrator would write it today: pymysql and pan-os-python
tags         three tags for each user, by pan-os-python
pan-python   the messages of a file, by pan-python; pan-os-python the same entries; uidsync its own client
floor        the messages of a file by a bare TLS socket, one for each port, side by side
"""

import argparse
import gc
import json
import socket
import ssl
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlencode

BATCH = 100
PAGE = 1000
TIMEOUT = 1440  # minutes

# The plain way: no limit to what it takes into memory, no look at what was sent before.
PLAIN = """
SELECT transDate, currentIpAddress, principal FROM clienthist
WHERE transDate >= UTC_TIMESTAMP() - INTERVAL 7 DAY ORDER BY clientHistId
"""


def plain(place: dict) -> None:
    """Read the window, keep the newest user of each address in a dict, send it to target after target."""
    import panos.firewall  # noqa: PLC0415
    import pymysql  # noqa: PLC0415

    login = {key: place[key] for key in ("host", "port", "user", "password", "database")}
    connection = pymysql.connect(**login, init_command="SET time_zone = '+00:00'")
    newest = {}
    with connection.cursor() as cursor:
        cursor.execute(PLAIN)
        for date, ip, principal in cursor.fetchall():
            user = (principal or "").split(",")[0].strip()
            if not ip or not user or user.lower() == "null":
                continue
            if ip not in newest or newest[ip][0] <= date:
                newest[ip] = date, user
    entries = [(f"CAMPUS\\{user}", ip, TIMEOUT) for ip, (_, user) in newest.items()]
    for port in place["ports"]:
        firewall = panos.firewall.Firewall("127.0.0.1", api_key="key", port=port, timeout=30)
        for start in range(0, len(entries), BATCH):
            firewall.userid.logins(entries[start : start + BATCH])


def _read_entries(place: dict) -> list[tuple[str, str, int]]:
    return [tuple(entry) for entry in json.loads(Path(place["entries"]).read_text())]


def _make_messages(entries: list[tuple[str, str, int]]) -> list[str]:
    messages = []
    for start in range(0, len(entries), BATCH):
        body = "".join(
            f'<entry name="{user}" ip="{ip}" timeout="{timeout}"/>'
            for user, ip, timeout in entries[start : start + BATCH]
        )
        messages.append(
            "<uid-message><version>1.0</version><type>update</type>"
            f"<payload><login>{body}</login></payload></uid-message>"
        )
    return messages


def send_by_pan_os_python(place: dict) -> float:
    """Send by the vendor's library; return the seconds that sending took."""
    import panos.firewall  # noqa: PLC0415

    entries = _read_entries(place)
    started = time.monotonic()
    firewall = panos.firewall.Firewall("127.0.0.1", api_key="key", port=place["ports"][0], timeout=30)
    for start in range(0, len(entries), BATCH):
        firewall.userid.logins(entries[start : start + BATCH])
    return time.monotonic() - started


def tag_by_pan_os_python(place: dict) -> float:
    """Give users three tags each by the vendor's library, a hundred users a message; return the seconds that took."""
    import panos.firewall  # noqa: PLC0415

    started = time.monotonic()
    users = panos.firewall.Firewall("127.0.0.1", api_key=place["key"], port=place["port"], timeout=30).userid
    for start in range(0, place["count"], BATCH):
        users.batch_start()
        for user in range(start, min(start + BATCH, place["count"])):
            users.tag_user(f"CAMPUS\\rival{user:07}", ["staff", "faculty", "mfa"], timeout=86400)
        users.batch_end()
    return time.monotonic() - started


def send_by_pan_python(place: dict) -> float:
    """Send the messages, made beforehand, by pan-python; return the seconds that sending took."""
    import pan.xapi  # noqa: PLC0415

    messages = _make_messages(_read_entries(place))
    started = time.monotonic()
    api = pan.xapi.PanXapi(api_key="key", hostname="127.0.0.1", port=place["ports"][0], timeout=30)
    for message in messages:
        api.user_id(cmd=message)
    return time.monotonic() - started


def read_log_by_pan_python(place: dict) -> int:
    """Read a log as scripts do, a thousand entries after the other, and return how many came."""
    import pan.xapi  # noqa: PLC0415

    api = pan.xapi.PanXapi(api_key=place["api_key"], hostname="127.0.0.1", port=place["port"], timeout=120)
    entries = 0
    while True:
        api.log(log_type="threat", nlogs=PAGE, skip=entries, filter=place["filter"], interval=0.1)
        found = api.element_root.findall(".//entry")
        rows = [{field.tag: field.text for field in entry} for entry in found]
        entries += len(rows)
        if len(rows) < PAGE:
            return entries


def send_by_uidsync(place: dict) -> float:
    """Send a plan, as a run has it, by uidsync's own client, which verifies; return the seconds that sending took."""
    from ipaddress import ip_address  # noqa: PLC0415

    import structlog  # noqa: PLC0415

    from uidsync.panos.userid.firewall import Firewall, make_url  # noqa: PLC0415
    from uidsync.panos.userid.messages import Login  # noqa: PLC0415
    from uidsync.panos.wire.client import Client  # noqa: PLC0415
    from uidsync.panos.wire.retries import Bounds, Patience, RetryPolicy  # noqa: PLC0415
    from uidsync.panos.wire.tls import Trust  # noqa: PLC0415
    from uidsync.plan.due import Plan  # noqa: PLC0415

    gc.disable()  # as the command does
    plan = Plan(new=[Login(ip_address(ip), user, timeout) for user, ip, timeout in _read_entries(place)])
    started = time.monotonic()
    client = Client(
        make_url("127.0.0.1", place["ports"][0]),
        trust=Trust(Path(place["ca_file"])),
        read_key=lambda: "key",
        bounds=Bounds(10, Patience(RetryPolicy(), structlog.get_logger()), threading.Semaphore(5)),
    )
    firewall = Firewall(client, vsys="vsys1")
    for batch in plan.batches(BATCH):
        if rejections := firewall.send(batch.entries):
            raise SystemExit(f"rejected: {rejections}")
    return time.monotonic() - started


def send_by_socket(place: dict) -> float:
    """Write the same calls to a bare TLS socket for each port, side by side; return the seconds that took."""
    calls = []
    for message in _make_messages(_read_entries(place)):
        body = urlencode({"type": "user-id", "cmd": message, "vsys": "vsys1"}).encode()
        calls.append(
            b"POST /api/ HTTP/1.1\r\nHost: 127.0.0.1\r\nX-PAN-KEY: key\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )
    context = ssl.create_default_context(cafile=place["ca_file"])

    def send(port: int) -> None:
        with (
            socket.create_connection(("127.0.0.1", port)) as line,
            context.wrap_socket(line, server_hostname="127.0.0.1") as connection,
        ):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for call in calls:
                connection.sendall(call)
                answer = b""
                while not answer.endswith(b"</response>"):
                    answer += connection.recv(2**16)

    started = time.monotonic()
    threads = [threading.Thread(target=send, args=(port,)) for port in place["ports"]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - started


RIVALS = {
    "plain": plain,
    "pan-os-python": send_by_pan_os_python,
    "tags": tag_by_pan_os_python,
    "pan-python": send_by_pan_python,
    "pan-python-log": read_log_by_pan_python,
    "uidsync": send_by_uidsync,
    "socket": send_by_socket,
}


def main() -> None:
    """Run one of them with what is in a JSON file, and print the seconds that sending took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rival", choices=RIVALS)
    parser.add_argument("place", type=Path)
    options = parser.parse_args()
    json.dump(RIVALS[options.rival](json.loads(options.place.read_text())), sys.stdout)


if __name__ == "__main__":
    main()
