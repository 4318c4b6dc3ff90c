"""Looks at what a relay needs: its port, its directory, its certificate as a firewall sees it, and the tenant."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtensionOID

from uidsync.integrations.relay.answers import ACCEPTED, CLOCK_LIMIT, DENIED, REFUSED
from uidsync.integrations.relay.given import Given
from uidsync.integrations.relay.health import Finding, is_full, try_disk
from uidsync.integrations.relay.names import Names
from uidsync.integrations.relay.queue import FILE, Limits
from uidsync.integrations.relay.service import Plan, PortTaken, open_port
from uidsync.integrations.relay.tenant import Tenant
from uidsync.integrations.relay.tls import CannotStart, TlsFiles, make_server_context

SOON = timedelta(days=30)
ALERT_BYTES = 2048  # on disk, about
MEBIBYTE = 2**20


def check_directory(state_dir: Path, limits: Limits, names: Names, *, is_made_by_root: bool) -> Iterator[Finding]:
    """Look at the directory of the queue; a relay that root starts makes it for the account of the service."""
    place = find_place(state_dir)
    is_there, trouble = place == state_dir, try_disk(place)
    if trouble and (is_there or not is_made_by_root):
        words = trouble if is_there else f"{state_dir} does not exist, and cannot be created: {trouble}"
        advice = "make room" if is_full(place) else "run this as the account of the service, or as root"
        advice += f", or set {names.state_dir} to another directory"
        yield Finding("disk", "red", words, advice)
        return
    free, needed = shutil.disk_usage(place).free, limits.alerts * ALERT_BYTES
    words = f"{state_dir / FILE}: {free // MEBIBYTE} MiB are free; a full queue needs about {_show_size(needed)}, and "
    words += (
        f"dead letters at most {_show_size(limits.dead_bytes)}{'' if is_there else '; the directory will be created'}"
    )
    is_enough = free > needed + limits.dead_bytes
    yield Finding("disk", "green" if is_enough else "yellow", words, "" if is_enough else "make room")


def find_place(state_dir: Path) -> Path:
    """Return the directory, or the nearest one above that is there."""
    return next((place for place in (state_dir, *state_dir.absolute().parents) if os.path.exists(place)), Path("/"))  # noqa: PTH110 (whatever its name is)


def _show_size(number: int) -> str:
    return f"{-(-number // MEBIBYTE)} MiB"


def check(given: Given, tenant: Tenant, now: datetime, *, is_made_by_root: bool) -> Iterator[Finding]:
    """Look at all that a relay needs, and send no alert. Raises CannotStart."""
    plan, names = given.make_plan(), given.names
    words = f"{given.file}: listens at {given.table.listen}, sends to {tenant.base}"
    yield Finding("configuration", "green", words)
    if plan.terms.psk or (plan.tls and plan.tls.client_ca):
        yield Finding("senders", "green", "must show a PSK or a certificate")
    else:
        yield Finding("senders", "yellow", "anybody may send alerts", names.psk)
    yield check_port(plan, names)
    yield from check_directory(plan.state_dir, plan.queue_limits, names, is_made_by_root=is_made_by_root)
    if plan.tls:
        yield from check_chain(plan.tls, now)
    yield from check_tenant(tenant)


def check_port(plan: Plan, names: Names) -> Finding:
    """Look whether a relay can listen, or does."""
    try:
        open_port(plan).close()
    except PortTaken as error:
        if error.is_relay:
            return Finding("port", "green", "a relay listens there")
        return Finding("port", "red", str(error), f"set {names.listen} to another port")
    except OSError as error:
        words = f"{plan.host}:{plan.port}: {error.strerror or error}"
        if isinstance(error, PermissionError):
            return Finding("port", "red", words, f"set {names.listen} to a port above 1023, such as 8443")
        return Finding("port", "red", words, f"set {names.listen} to an address of this host")
    return Finding("port", "green", "free for the relay")


def check_chain(files: TlsFiles, now: datetime) -> Iterator[Finding]:
    """Look at the certificates as a firewall gets them."""
    try:
        make_server_context(files)
        chain = x509.load_pem_x509_certificates(files.certificate.read_bytes())
    except (CannotStart, OSError, ValueError) as error:
        advice = error.advice if isinstance(error, CannotStart) else "check relay.certificate_file"
        yield Finding("certificate", "red", str(error), advice)
        return
    leaf = chain[0]
    names = _list_names(leaf)
    end = leaf.not_valid_after_utc
    words = f"for {', '.join(names) or 'no name'}, until {end:%Y-%m-%d}"
    days = (end - now).days
    if end <= now:
        yield Finding("certificate", "red", f"{words}: it has expired", "renew it")
    elif not names:
        yield Finding("certificate", "red", words, "get one with the relay's name as a subject alternative name")
    elif end - now < SOON:
        yield Finding("certificate", "yellow", f"{words}: {days} day{'' if days == 1 else 's'} left", "renew it")
    else:
        yield Finding("certificate", "green", words)
    for child, parent in pairwise(chain):
        if not _is_issued_by(child, parent):
            advice = "relay.certificate_file holds the certificate, then its issuer, then the issuer's"
            yield Finding("chain", "red", f"{_show(parent)} did not issue {_show(child)}", advice)
            return
    last = chain[-1]
    if _is_issued_by(last, last):
        words = f"ends in {_show(last)} itself: firewalls need it in their certificate profile"
    else:
        words = f"{len(chain)} sent; firewalls need {last.issuer.rfc4514_string()} in their certificate profile"
    yield Finding("chain", "green", words)


def _list_names(leaf: x509.Certificate) -> list[str]:
    try:
        names = leaf.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    except x509.ExtensionNotFound:
        return []
    if not isinstance(names, x509.SubjectAlternativeName):
        return []
    return [str(name.value) for name in names]


def _is_issued_by(child: x509.Certificate, parent: x509.Certificate) -> bool:
    try:
        child.verify_directly_issued_by(parent)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _show(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or "a certificate without a subject"


def check_tenant(tenant: Tenant) -> Iterator[Finding]:
    """Ask the tenant to insert no alert: it refuses that for its emptiness, once it has taken the key."""
    answer = tenant.insert([])
    where = tenant.base.removeprefix("https://")
    if answer.kind in {REFUSED, ACCEPTED}:
        yield Finding("tenant", "green", f"{where} accepts the API key, and the key may insert alerts")
    elif answer.kind == DENIED:
        yield Finding("tenant", "red", f"{where}: {answer.words}", answer.advice)
    else:
        advice = "; ".join(filter(None, (answer.advice, "alerts wait in the queue until it is there")))
        yield Finding("tenant", "yellow", f"{where}: {answer.words}", advice)
    ahead = tenant.clock_ahead
    if ahead is None:
        return
    seconds = round(abs(ahead).total_seconds())
    words = f"{seconds} s {'ahead of' if ahead > timedelta() else 'behind'} the tenant's"
    if abs(ahead) > CLOCK_LIMIT:
        yield Finding("clock", "red", words, "set it by NTP: advanced keys are bound to the time")
    else:
        yield Finding("clock", "green", words)
