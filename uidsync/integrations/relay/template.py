"""The payloads that a firewall is told to send: the original's, byte for byte, and one that no value can break.

Pure: no I/O. PAN-OS puts values into a payload as they are: its HTTP server profiles have no setting for escaping. In
our own payload a separator that no value can hold stands before each field, and the first line says which it is.
"""

from __future__ import annotations

MARKER = "---annex---"
NUMBERS = ("sport", "dport")  # stand without quotes in the original
ORIGINAL = (
    "src", "sport", "dst", "dport", "time_generated", "rule", "serial", "sender_sw_version", "subtype", "threat_name",
    "severity", "action",
)  # fmt: skip
# Beside those: what tells the moment safely, whom the firewall takes the user for, and which log it was.
EXTRA = (
    "high_res_timestamp", "cef-formatted-time_generated", "srcuser", "dstuser", "app", "from", "to", "device_name",
    "seqno", "misc",
)  # fmt: skip
FIELDS = (*ORIGINAL, *EXTRA)
FIRST_WORD = "uidsync-relay-1"
SMALLEST_SEPARATOR = 8  # characters

# What stands in place of a variable: in logs of before PAN-OS 10.0, and in those that name no threat.
BEFORE_10 = {"threat_name": "$threatid"}
IN_LOG = {"url": {"threat_name": "URL filtering: $category"}}
SINCE_10 = frozenset({"high_res_timestamp"})


def _find_texts(log_type: str, *, is_before_10: bool) -> dict[str, str]:
    """Return what stands for each field in a payload."""
    return {name: f"${name}" for name in FIELDS} | (BEFORE_10 if is_before_10 else {}) | IN_LOG.get(log_type, {})


def make_original(log_type: str = "threat", *, is_before_10: bool = False) -> str:
    """Make the original's payload, as `GET /dump` shows it."""
    texts = _find_texts(log_type, is_before_10=is_before_10)
    quoted = {name: texts[name] if name in NUMBERS else f'"{texts[name]}"' for name in ORIGINAL}
    lines = (f'\t"{name}": {text}' for name, text in quoted.items())
    return "{\n" + ",\n".join(lines) + f"\n}}\n{MARKER}\n$misc\n"


def make_safe(separator: str, log_type: str = "threat", *, is_before_10: bool = False) -> str:
    """Make our own payload with this separator."""
    texts = _find_texts(log_type, is_before_10=is_before_10)
    lines = [f"{separator} {name}={text}" for name, text in texts.items() if not (is_before_10 and name in SINCE_10)]
    return "\n".join([f"{FIRST_WORD} {separator}", *lines, separator]) + "\n"


def find_separator(payload: str) -> str:
    """Return the separator that a payload of ours begins with; empty if the payload is not ours."""
    first, _, _ = payload.partition("\n")
    word, _, separator = first.strip().partition(" ")
    return separator if word == FIRST_WORD and len(separator) >= SMALLEST_SEPARATOR else ""
