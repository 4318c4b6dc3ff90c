"""Sentences that say what went wrong with a target, and what to do about it.

Pure: no I/O, no clock.
"""

from __future__ import annotations

import re

NO_SECRET = re.compile(r"no secret ([\w.-]+)")
# What went wrong with a target, by the kind of its error, and what to do.
ERRORS = {
    "Unauthorized": ("did not let uidsync in", "See what is missing: uidsync check --target {name}"),
    "Unreachable": ("cannot be reached", "Are host and port right? Test: uidsync check --target {name}"),
    "Busy": ("is busy", "The next run tries again."),
    "Untrusted": ("failed the certificate check", "Test: uidsync check --target {name}"),
    "BadReply": ("gave an unexpected answer", "Test: uidsync check --target {name}"),
    "BadRequest": ("refused the request", "Test: uidsync check --target {name}"),
    "TargetError": ("was not served in full", "Test: uidsync check --target {name}"),
    "UnsafePlan": ("was not sent everything", "Look at the plan: uidsync sync --dry-run --target {name}"),
}
BAD_KEY = "{name} refused the API key ({words}). Get a new one: uidsync keygen {name}"


def tell_error(name: str, kind: str, message: str) -> str:
    """Say what went wrong with a target, and what to do."""
    words = end_sentence(message)
    if missing := NO_SECRET.search(message):
        return f"{name}: {words} {advise_secret(missing[1])}"
    if needs_key(kind, message):
        return BAD_KEY.format(name=name, words=message.rstrip("."))
    what, advice = ERRORS.get(kind, ERRORS["BadReply"])
    return f"{name} {what}: {words} {advice.format(name=name)}"


def tell_kind(kind: str, message: str) -> str:
    """Say what went wrong with a target that was named before."""
    return f"{ERRORS.get(kind, ERRORS['BadReply'])[0]}: {message}"


def end_sentence(words: str) -> str:
    """Return the words with a full stop, unless they end with a mark of their own."""
    return words if words.endswith((".", "?", "!")) else f"{words}."


def needs_key(kind: str, message: str) -> bool:
    """Tell whether a target needs an API key, or another one."""
    if missing := NO_SECRET.search(message):
        return missing[1].endswith("-api-key")
    return kind == "Unauthorized" and "Invalid Credential" in message


def advise_secret(name: str) -> str:
    """Say by which command a missing secret gets to its place."""
    return f"{'Get a key' if name.endswith('-api-key') else 'Store it'}: {name_command(name)}"


def name_command(secret: str) -> str:
    """Return the command that puts a secret into its place."""
    if secret.endswith("-api-key"):
        return f"uidsync keygen {secret.removesuffix('-api-key')}"
    is_key = secret.endswith(("-client-key", "-ssh-key", "-tls-key"))
    return f"uidsync secret set {secret}{' < KEY-FILE' if is_key else ''}"


def count(number: int, words: str) -> str:
    """Return a number with what it counts, which is said in the plural."""
    one = words.removesuffix("es" if words == "addresses" else "s")
    return f"{number:,} {one if number == 1 else words}"
