"""What may stand on the command line: every command, its options and arguments as values, for whoever writes of them.

Read from the functions themselves, so that a manual or a completion cannot say anything else.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

import typer
from typer.models import ArgumentInfo, OptionInfo
from typer.utils import get_params_from_function

from uidsync.cli.app import app

HELP = "Show this message and exit."


@dataclass(frozen=True, slots=True)
class Option:
    """An option; without a `metavar` it takes no value."""

    names: tuple[str, ...]
    help: str
    metavar: str = ""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Argument:
    """A word that has a place of its own."""

    metavar: str
    help: str
    choices: tuple[str, ...]
    is_needed: bool
    is_repeatable: bool


@dataclass(frozen=True, slots=True)
class Command:
    """A command: the words that call it, what its help says, and what may follow. Without words, uidsync itself."""

    words: tuple[str, ...]
    help: str
    options: tuple[Option, ...]
    arguments: tuple[Argument, ...]

    @property
    def summary(self) -> str:
        """What it does, in one sentence."""
        return self.help.partition("\n\n")[0].replace("\n", " ")


def read_commands(group: typer.Typer = app, before: tuple[str, ...] = ()) -> Iterator[Command]:
    """Yield the group itself, then its commands by name, those of groups inside it after their own."""
    callback = group.registered_callback.callback if group.registered_callback else None
    yield _read(callback, before, (group.info.help or "") if isinstance(group.info.help, str) else "")
    commands = {info.name or _name(info.callback): info.callback for info in group.registered_commands}
    for name in sorted(commands):
        yield _read(commands[name], (*before, name))
    for inner in group.registered_groups:
        if inner.typer_instance:
            inner_name = inner.name if isinstance(inner.name, str) else inner.typer_instance.info.name
            yield from read_commands(inner.typer_instance, (*before, str(inner_name)))


def _name(function: Callable[..., Any] | None) -> str:
    return getattr(function, "__name__", "").replace("_", "-")


def _read(function: Callable[..., Any] | None, words: tuple[str, ...], otherwise: str = "") -> Command:
    options: list[Option] = []
    arguments: list[Argument] = []
    for parameter in get_params_from_function(function).values() if function else ():
        mark = parameter.default
        if isinstance(mark, OptionInfo):
            options.append(_read_option(parameter.name, parameter.annotation, mark))
        elif isinstance(mark, ArgumentInfo):
            arguments.append(_read_argument(parameter.name, parameter.annotation, mark))
    return Command(
        words, inspect.getdoc(function) or otherwise, (*options, Option(("--help",), HELP)), tuple(arguments)
    )


def _read_option(name: str, kind: Any, mark: OptionInfo) -> Option:  # noqa: ANN401 (an annotation may be anything)
    names = tuple(sorted(mark.param_decls or (f"--{name.replace('_', '-')}",), key=len))
    if kind is bool or mark.count:
        return Option(names, mark.help or "")
    choices = _read_choices(kind)
    metavar = mark.metavar or "|".join(choices) or name.upper().replace("_", "-")
    return Option(names, mark.help or "", metavar, choices)


def _read_argument(name: str, kind: Any, mark: ArgumentInfo) -> Argument:  # noqa: ANN401
    choices = _read_choices(kind)
    metavar = mark.metavar or "|".join(choices) or name.upper()
    return Argument(metavar, mark.help or "", choices, mark.default is ..., "list[" in str(kind))


def _read_choices(kind: Any) -> tuple[str, ...]:  # noqa: ANN401
    inner = [part for part in (kind, *get_args(kind)) if get_origin(part) is Literal]
    return tuple(str(choice) for part in inner for choice in get_args(part))
