"""`uidsync config`."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Annotated, Literal

import typer

from uidsync.cli.app import Options, command
from uidsync.cli.neighbours import find_neighbours
from uidsync.config.reader import make_model


@command
def config(
    options: Options,
    what: Annotated[
        Literal["default", "schema"], typer.Argument(help="`schema` prints the JSON Schema, for editors.")
    ] = "default",
) -> None:
    """Print an annotated configuration to fill in.

    Every key is in it, with its default and what it does. The schema lets editors complete keys and mark mistakes.

    Examples:

        uidsync config > uidsync.toml              fill it in
        uidsync --config uidsync.toml check        and try it
        uidsync config schema > uidsync.schema.json
    """
    if what == "schema":
        print(json.dumps(make_model(find_neighbours()).model_json_schema(), indent=1))
    else:
        print(files("uidsync").joinpath("uidsync.toml").read_text("utf-8"), end="")
