"""Writes the manual page uidsync(1), from what every command says of itself: `python -m uidsync.cli.manual`.

What no command says stands here: exit codes, files and environment. No date is in it: the same commands make the same
page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from uidsync import __version__
from uidsync.cli.grammar import Command, Option, read_commands
from uidsync.report.report import BUG, INCOMPLETE, LOCKED, OK, SOURCE, UNREADABLE, UNSAFE, USAGE

EXIT_CODES = {
    OK: "Every target is complete: all that was due was delivered.",
    INCOMPLETE: "A target is not: something was rejected, failed or not tried. check: something is red. status: a "
    "target is behind. verify: something differs. who, explain: no record.",
    USAGE: "Wrong usage or configuration, or an account that may not read what is needed; nothing was read.",
    SOURCE: "The source could not be read, or not to its end; nothing was sent.",
    UNSAFE: "Refused as unsafe: the whole run, or a part of what was due for a target. The other targets were served.",
    LOCKED: "Another run is at work.",
    UNREADABLE: "verify: a firewall could not be read, or no firewall has learned a mapping from an agent, and nothing "
    "else differs.",
    BUG: "A bug. -vv shows where.",
}
FILES = {
    "/etc/uidsync/uidsync.toml": "The configuration. `uidsync config` prints one to fill in, with every key.",
    "/etc/uidsync/credentials/": "Secrets, a file each: source-password, TARGET-api-key, TARGET-client-key. For root "
    "and the group uidsync alone.",
    "/var/lib/uidsync/": "The ledger of what each target holds, and last-run.json, the report of the last run.",
}
ENVIRONMENT = {
    "UIDSYNC_CONFIG": "The configuration, unless --config names one.",
    "CREDENTIALS_DIRECTORY": "Where secrets are looked for before /etc/uidsync/credentials; set by systemd.",
    "STATE_DIRECTORY": "Where state is kept, unless sync.state_dir says; set by systemd.",
    "RUNTIME_DIRECTORY": "Where the ledger goes while the state directory cannot be written; set by systemd.",
    "NO_COLOR": "When set and not empty, nothing is coloured. What is no terminal never is.",
}
SEE_ALSO = "uidsync.toml(5), systemctl(1), systemd.exec(5), systemd.timer(5)"


def write_manual(commands: Sequence[Command]) -> Iterator[str]:
    """Yield the lines of the page, in roff with the macros of man(7)."""
    whole, *others = commands
    calls = [command for command in others if not _is_group(command, others)]
    yield rf'.TH UIDSYNC 1 "" "uidsync {__version__}" "System administration"'
    yield from (".nh", ".ad l", ".SH NAME", rf"uidsync \- {_spell(whole.summary[0].lower() + whole.summary[1:-1])}")
    yield ".SH SYNOPSIS"
    for number, command in enumerate(calls):
        words, place = _spell(" ".join(("uidsync", *command.words))), _spell(_place(command, whole))
        yield from (*([".br"] if number else []), f".B {words}", place or r"\&")
    yield ".SH DESCRIPTION"
    yield from _write_text(whole.help.partition("\n\n")[2])
    yield from (".SH OPTIONS", "These stand before or after any command.")
    yield from _write_options(whole.options)
    yield ".SH COMMANDS"
    for command in calls:
        yield f".SS uidsync {_spell(' '.join(command.words))}"
        yield from _write_text(command.help)
        yield from _write_options([option for option in command.options if option not in whole.options])
    yield from (".SH EXIT STATUS", *_write_terms({str(code): meaning for code, meaning in EXIT_CODES.items()}))
    yield from (".SH FILES", *_write_terms(FILES), ".SH ENVIRONMENT", *_write_terms(ENVIRONMENT))
    yield from (".SH SEE ALSO", _spell(SEE_ALSO))


def _is_group(command: Command, others: Sequence[Command]) -> bool:
    depth = len(command.words)
    return any(other.words[:depth] == command.words and len(other.words) > depth for other in others)


def _place(command: Command, whole: Command) -> str:
    """Return what may follow the words of a command."""
    parts = [
        f"[{option.names[-1]}{f' {option.metavar}' if option.metavar else ''}]"
        for option in command.options
        if option not in whole.options
    ]
    for argument in command.arguments:
        dots = "..." if argument.is_repeatable else ""
        name = argument.metavar.strip("[]")
        parts.append(f"{name}{dots}" if argument.is_needed else f"[{name}]{dots}")
    return " ".join(parts)


def _write_text(text: str) -> Iterator[str]:
    """Yield the paragraphs of a help, its examples as they stand."""
    for number, part in enumerate(text.strip("\n").split("\n\n")):
        if part.startswith("    "):
            yield from (".RS 4", ".nf", *(_spell(line[4:]) for line in part.splitlines()), ".fi", ".RE")
        else:
            yield from (*([".PP"] if number else []), _spell(part.replace("\n", " ")))


def _write_options(options: Sequence[Option]) -> Iterator[str]:
    for option in options:
        names = ", ".join(rf"\fB{_spell(name)}\fR" for name in option.names)
        yield from (".TP", names + (rf" \fI{_spell(option.metavar)}\fR" if option.metavar else ""), _spell(option.help))


def _write_terms(terms: dict[str, str]) -> Iterator[str]:
    for term, meaning in terms.items():
        yield from (".TP", rf"\fB{_spell(term)}\fR", _spell(meaning))


def _spell(text: str) -> str:
    r"""Return a text that roff shows as it is; what stands in backquotes is bold."""
    text = (
        text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq").replace("^", r"\(ha").replace("~", r"\(ti")
    )
    text = re.sub(r"``?([^`]+)``?", r"\\fB\1\\fR", text)
    return rf"\&{text}" if text.startswith(".") else text


def main() -> None:
    """Print the page."""
    from uidsync.cli import load_commands  # noqa: PLC0415 (the application without its commands is imported first)

    load_commands(())
    print("\n".join(write_manual(tuple(read_commands()))))


if __name__ == "__main__":
    main()
