"""Looks at what a relay needs: its directory, its certificate as a firewall sees it, and the tenant."""

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
from uidsync.integrations.relay.health import Finding
from uidsync.integrations.relay.queue import FILE
from uidsync.integrations.relay.service import CannotStart, TlsFiles, make_server_context
from uidsync.integrations.relay.tenant import Tenant

SOON = timedelta(days=30)
LEAST_FREE = 200 * 2**20  # bytes: a full queue, and dead letters
ALERT_BYTES = 2048  # on disk, about


def check_directory(state_dir: Path, alerts: int) -> Iterator[Finding]:
    """Look at the directory of the queue."""
    if not state_dir.is_dir():
        yield Finding("disk", "red", f"{state_dir} is not there", "make it, for the account of the service")
        return
    if not os.access(state_dir, os.W_OK | os.X_OK, effective_ids=True):
        yield Finding(
            "disk", "red", f"{state_dir} cannot be written", "run this as the account of the service, or root"
        )
        return
    free, needed = shutil.disk_usage(state_dir).free, max(LEAST_FREE, alerts * ALERT_BYTES)
    words = f"{state_dir / FILE}: {free // 2**20} MiB are free, a full queue needs {needed // 2**20}"
    yield Finding("disk", "green" if free > needed else "yellow", words, "" if free > needed else "make room")


def check_chain(files: TlsFiles, now: datetime) -> Iterator[Finding]:
    """Look at the certificates as a firewall gets them."""
    try:
        make_server_context(files)
        chain = x509.load_pem_x509_certificates(files.certificate.read_bytes())
    except (CannotStart, OSError, ValueError) as error:
        yield Finding("certificate", "red", str(error), "relay.certificate_file and relay.key_file belong together")
        return
    leaf = chain[0]
    names = _list_names(leaf)
    end = leaf.not_valid_after_utc
    words = f"for {', '.join(names) or 'no name'}, until {end:%Y-%m-%d}"
    if end <= now:
        yield Finding("certificate", "red", f"{words}: it has ended", "renew it")
    elif not names:
        yield Finding("certificate", "red", words, "firewalls look for their server's name among the alternative names")
    else:
        yield Finding("certificate", "yellow" if end - now < SOON else "green", words)
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
        yield Finding("tenant", "green", f"{where} takes the key, and it may insert alerts")
    elif answer.kind == DENIED:
        yield Finding("tenant", "red", f"{where}: {answer.words}", answer.advice)
    else:
        yield Finding("tenant", "yellow", f"{where}: {answer.words}", "alerts wait in the queue until it is there")
    ahead = tenant.clock_ahead
    if ahead is None:
        return
    seconds = round(abs(ahead).total_seconds())
    words = f"{seconds} s {'ahead of' if ahead > timedelta() else 'behind'} the tenant's"
    if abs(ahead) > CLOCK_LIMIT:
        yield Finding("clock", "red", words, "set it by NTP: advanced keys are bound to the time")
    else:
        yield Finding("clock", "green", words)
