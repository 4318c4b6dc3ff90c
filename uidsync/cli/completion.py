"""Writes what lets a shell complete the command line: `python -m uidsync.cli.completion bash|zsh|fish`.

What it writes knows every command by itself, so that a TAB starts no Python. Names of targets are looked for in the
configuration then, by a few lines of awk that print nothing else of it, and nothing of what is wrong with it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence

from uidsync.cli.grammar import Argument, Command, Option, read_commands

FILES, TARGETS = "FILE", "TARGET"  # what takes the name of a file, or of a target, by what stands for its value

# Of a configuration that is a file: a pipe would wait for ever.
FIND_TARGETS = r"""    [ -f "$1" ] && awk '
        /^[ \t]*\[/ { inside = /^[ \t]*\[\[target\]\]/ }
        inside && /^[ \t]*name[ \t]*=/ { if (split($0, parts, /["\047]/) > 2) print parts[2] }' "$1" 2>/dev/null"""


def write_bash(commands: Sequence[Command]) -> Iterator[str]:
    """Yield the lines for bash."""
    values = sorted(
        {name for command in commands for option in command.options if option.metavar for name in option.names}
    )
    yield from ("_uidsync_targets() {", FIND_TARGETS, "}", "")
    yield from (
        "_uidsync() {",
        "    local current=${COMP_WORDS[COMP_CWORD]} config=${UIDSYNC_CONFIG:-/etc/uidsync/uidsync.toml}",
        "    local command= pending= word= words= options= IFS=$' \\t\\n'",
        "    COMPREPLY=()",
        '    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
        '        if [ -n "$pending" ]; then',
        '            [ "$pending" != --config ] || config=$word',
        "            pending=",
        "            continue",
        "        fi",
        '        case "$word" in',
        f"            {'|'.join(values)}) pending=$word ;;",
        "            -*) ;;",
        '            *) case "$command $word" in',
    )
    calls = "|".join(f'"{"".join(f" {word}" for word in command.words)}"' for command in commands if command.words)
    yield from (
        f'                {calls}) command="$command $word" ;;',
        "            esac ;;",
        "        esac",
        "    done",
        '    case "$command:$pending" in',
    )
    for command in commands:
        path = "".join(f" {word}" for word in command.words)
        for option in command.options:
            if option.metavar:
                names = "|".join(f'"{path}:{name}"' for name in option.names)
                yield f"        {names}) {_take_bash(option)} ;;"
        options = " ".join(name for option in command.options for name in option.names)
        yield f"        \"{path}:\") options='{options}'; {_offer_bash(command, commands)} ;;"
    yield from (
        "    esac",
        '    [[ -n "$words" && "$current" != -* ]] || words=$options',
        '    COMPREPLY=($(compgen -W "$words" -- "$current"))',
        "}",
        "complete -F _uidsync uidsync",
    )


def _take_bash(option: Option) -> str:
    if option.choices:
        return f"words='{' '.join(option.choices)}'"
    if "--target" in option.names:
        return 'words=$(_uidsync_targets "$config")'
    return (
        'compopt -o filenames; COMPREPLY=($(compgen -f -- "$current")); return' if option.metavar == FILES else "return"
    )


def _offer_bash(command: Command, commands: Sequence[Command]) -> str:
    words = [word for word, _ in _list_inner(command, commands)]
    words += [choice for argument in command.arguments for choice in argument.choices]
    if any(argument.metavar == TARGETS for argument in command.arguments):
        return 'words=$(_uidsync_targets "$config")'
    return f"words='{' '.join(words)}'"


def write_zsh(commands: Sequence[Command]) -> Iterator[str]:
    """Yield the lines for zsh, a function for each command."""
    yield from ("#compdef uidsync", "", "_uidsync_find_targets() {", FIND_TARGETS, "}", "")
    yield from (
        "_uidsync_targets() {",
        "    local file=${config:-${UIDSYNC_CONFIG:-/etc/uidsync/uidsync.toml}}",
        '    local -a names=(${(f)"$(_uidsync_find_targets "$file")"})',
        "    compadd -a names",
        "}",
    )
    for command in commands:
        inner = _list_inner(command, commands)
        name = "_".join(("_uidsync", *command.words)).replace("-", "_")
        yield from (
            "",
            f"{name}() {{",
            "    local -A opt_args",
            "    local -a commands",
            "    local context state line curcontext=$curcontext",
        )
        yield "    _arguments -s -S" + (" -C" if inner else "") + " \\"
        for option in command.options:
            yield from (f"        {spec} \\" for spec in _take_zsh(option))
        if not inner:
            yield from (f"        {_place_zsh(argument)} \\" for argument in command.arguments)
            yield from ("        && return", "}")
            continue
        yield from (
            "        '1: :->command' '*:: :->rest' && return",
            "    case $state in",
            "        command)",
            "            commands=(",
        )
        yield from (f"                {_quote(f'{word}:{says}')}" for word, says in inner)
        yield from ("            )", "            _describe command commands ;;", "        rest)")
        yield from ("            local config=${opt_args[--config]:-$config}", "            case $words[1] in")
        yield from (f"                {word}) {name}_{word.replace('-', '_')} ;;" for word, _ in inner)
        yield from ("            esac ;;", "    esac", "}")
    yield from ("", 'if [ "$funcstack[1]" = _uidsync ]; then _uidsync "$@"; else compdef _uidsync uidsync; fi')


def _take_zsh(option: Option) -> Iterator[str]:
    says = f"[{_escape_zsh(option.help)}]"
    value = f":{_escape_zsh(option.metavar)}:{_complete_zsh(option)}" if option.metavar else ""
    for name in option.names:  # the same option twice is all right: some may be repeated
        yield _quote(f"*{name}{says}{value}")


def _place_zsh(argument: Argument) -> str:
    place = "*" if argument.is_repeatable else ""
    return _quote(f"{place}:{_escape_zsh(argument.metavar)}:{_complete_zsh(argument)}")


def _complete_zsh(part: Option | Argument) -> str:
    if part.choices:
        return f"({' '.join(part.choices)})"
    if part.metavar == TARGETS or (isinstance(part, Option) and "--target" in part.names):
        return "_uidsync_targets"
    return "_files" if part.metavar == FILES else " "


def _escape_zsh(text: str) -> str:
    for sign in "\\[]:":
        text = text.replace(sign, f"\\{sign}")
    return text


def write_fish(commands: Sequence[Command]) -> Iterator[str]:
    """Yield the lines for fish."""
    yield from (
        "function __uidsync_find_targets",
        "    sh -c '" + FIND_TARGETS.strip().replace("'", r"\'") + "' sh $argv[1]",
        "end",
        "",
    )
    yield from (
        "function __uidsync_targets",
        "    set -l words (commandline -opc)",
        "    set -l config /etc/uidsync/uidsync.toml",
        '    test -n "$UIDSYNC_CONFIG"; and set config $UIDSYNC_CONFIG',
        "    set -l place (contains -i -- --config $words); and set config $words[(math $place + 1)]",
        '    __uidsync_find_targets "$config"',
        "end",
        "",
        "complete -c uidsync -f",
    )
    for command in commands:
        inner = _list_inner(command, commands)
        here = [f"__fish_seen_subcommand_from {word}" for word in command.words]
        if inner:
            here.append(f"not __fish_seen_subcommand_from {' '.join(word for word, _ in inner)}")
        start = f"complete -c uidsync -n {_quote('; and '.join(here))}"
        yield from (f"{start} -a {word} -d {_quote_fish(says)}" for word, says in inner)
        for option in command.options:
            names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names)
            yield f"{start} {names}{_take_fish(option)} -d {_quote_fish(option.help)}"
        for argument in command.arguments:
            if argument.choices or argument.metavar == TARGETS:
                yield f"{start}{_take_fish(argument).replace(' -x', '')}"


def _take_fish(part: Option | Argument) -> str:
    if not part.metavar:
        return ""
    if part.choices:
        return f" -x -a '{' '.join(part.choices)}'"
    if part.metavar == TARGETS or (isinstance(part, Option) and "--target" in part.names):
        return " -x -a '(__uidsync_targets)'"
    return " -r -F" if part.metavar == FILES else " -x"


def _list_inner(command: Command, commands: Sequence[Command]) -> list[tuple[str, str]]:
    """List the words that may come next, each with what it does."""
    depth = len(command.words)
    return [
        (other.words[depth], other.summary)
        for other in commands
        if len(other.words) == depth + 1 and other.words[:depth] == command.words
    ]


def _quote(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _quote_fish(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


SHELLS: dict[str, Callable[[Sequence[Command]], Iterator[str]]] = {
    "bash": write_bash, "zsh": write_zsh, "fish": write_fish,
}  # fmt: skip


def main() -> None:
    """Write what the shell that is named needs."""
    from uidsync.cli import load_commands  # noqa: PLC0415 (the application without its commands is imported first)

    load_commands(())
    print("\n".join(SHELLS[sys.argv[1]](tuple(read_commands()))))


if __name__ == "__main__":
    main()
