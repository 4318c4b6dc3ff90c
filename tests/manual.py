"""Draws docs/man/uidsync.1 from what every command says of itself: `python -m tests.manual` renews the page.

From EXIT STATUS on the page is written by hand, and kept as it is.
"""

import inspect
import re
from pathlib import Path

import typer

from uidsync.cli import COMMANDS, load_commands
from uidsync.cli.app import app

PAGE = Path(__file__).parents[1] / "docs/man/uidsync.1"
BY_HAND = ".SH EXIT STATUS\n"


def find_commands():
    """Return uidsync itself, and every command that can be called, each as the library's context of a call."""
    load_commands(COMMANDS)
    root = typer.Context(typer.main.get_command(app), info_name="uidsync")

    def walk(context):
        inner = getattr(context.command, "commands", {})
        for name, command in sorted(inner.items(), key=lambda item: (*COMMANDS, item[0]).index(item[0])):
            yield from walk(typer.Context(command, info_name=name, parent=context))
        if not inner:
            yield context

    return root, list(walk(root))


def find_options(context):
    """Return the options of a command by their names, without the help's, each with what is said of it."""
    options = [each for each in context.command.params if each.param_type_name == "option" and each.name != "help"]
    return {each.name: each.get_help_record(context) for each in options}


def draw():
    """Return the page as it should be."""
    root, calls = find_commands()
    shared = find_options(root)
    first, _, rest = inspect.cleandoc(root.command.help).partition("\n\n")
    lines = ['.TH UIDSYNC 1 "" "uidsync" "System administration"', ".nh", ".ad l", ".SH NAME"]
    lines += [
        rf"uidsync \- {spell(first[0].lower() + first[1:-1])}",
        ".SH SYNOPSIS",
        ".B uidsync",
        r"COMMAND [OPTIONS]",
    ]
    lines += [".SH DESCRIPTION", *draw_text(rest), ".SH OPTIONS", "These stand before or after any command.", ".PP"]
    lines += [
        *draw_terms([*shared.values(), ("-h, --help", "Show the help; after a command, the help of that command.")]),
        ".SH COMMANDS",
    ]
    for context in calls:
        usage = [piece for piece in context.command.collect_usage_pieces(context) if piece != "[OPTIONS]"]
        own = {name: record for name, record in find_options(context).items() if name not in shared}
        lines.append(f".SS {spell(' '.join([context.command_path, *usage]))}")
        lines += draw_text(inspect.cleandoc(context.command.help))
        lines += draw_terms(own.values())
    return "\n".join(lines) + "\n" + BY_HAND + PAGE.read_text("utf-8").partition(BY_HAND)[2]


def draw_text(text):
    """Yield the paragraphs of a help, its examples as they stand."""
    for number, part in enumerate(text.strip("\n").split("\n\n")):
        if part.startswith("    "):
            yield from (".RS 4", ".nf", *(spell(line[4:]) for line in part.splitlines()), ".fi", ".RE")
        else:
            yield from (*([".PP"] if number else []), spell(part.replace("\n", " ")))


def draw_terms(terms):
    """Yield a list of terms with what each means."""
    for term, words in terms:
        names = re.sub(r"(?<![\w-])(-[\w-]+)", r"\\fB\1\\fR", term).replace("-", r"\-")
        yield from (".TP", names, spell(" ".join(words.split())))


def spell(text):
    r"""Return a text that roff shows as it is; what stands in backquotes is bold."""
    text = text.replace("\\", r"\e")
    for sign, shown in {"-": r"\-", "'": r"\(aq", "^": r"\(ha", "~": r"\(ti"}.items():
        text = text.replace(sign, shown)
    text = re.sub(r"``?([^`]+)``?", r"\\fB\1\\fR", text)
    return rf"\&{text}" if text.startswith(".") else text


if __name__ == "__main__":
    PAGE.write_text(draw(), "utf-8")
