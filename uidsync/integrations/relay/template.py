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
LONGEST_PAYLOAD = 2048  # characters that PAN-OS takes for a payload

# What a log of before PAN-OS 10.0 has in place of a variable.
BEFORE_10 = {"threat_name": "threatid"}
SINCE_10 = frozenset({"high_res_timestamp"})


def make_original(variables: dict[str, str] | None = None) -> str:
    """Make the original's payload, as `GET /dump` shows it."""
    names = variables or {}
    lines = []
    for name in ORIGINAL:
        variable = f"${names.get(name, name)}"
        lines.append(f'\t"{name}": {variable if name in NUMBERS else f"{chr(34)}{variable}{chr(34)}"}')
    return "{\n" + ",\n".join(lines) + f"\n}}\n{MARKER}\n$misc\n"


def make_safe(separator: str, *, is_before_10: bool = False) -> str:
    """Make our own payload with this separator."""
    lines = [f"{FIRST_WORD} {separator}"]
    for name in FIELDS:
        if is_before_10 and name in SINCE_10:
            continue
        variable = BEFORE_10.get(name, name) if is_before_10 else name
        lines.append(f"{separator} {name}=${variable}")
    return "\n".join(lines) + f"\n{separator}\n"


def find_separator(payload: str) -> str:
    """Return the separator that a payload of ours begins with; empty if the payload is not ours."""
    first, _, _ = payload.partition("\n")
    word, _, separator = first.strip().partition(" ")
    return separator if word == FIRST_WORD and len(separator) >= SMALLEST_SEPARATOR else ""
