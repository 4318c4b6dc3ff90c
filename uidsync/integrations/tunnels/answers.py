"""Says what each action asks of a firewall, and makes of what came back what is printed. Asks nobody."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import Annotated, Literal

import typer
from msgspec import Struct
from rich.console import RenderableType

from uidsync.integrations.tunnels import listing, zabbix
from uidsync.integrations.tunnels.outcome import Outcome
from uidsync.panos.tunnels.look import Wants

Action = Literal["list", "discover", "status", "all", "check", "learn", "doctor", "capture", "template"]
OF_ONE = {"discover", "status", "all", "capture"}  # for machines, of one firewall: nothing beside the answer is said
FOR_PEOPLE = {"list", "doctor"}
SHOW_ALL = {"list", "all", "doctor"}  # they show what is asked for beside the tunnels


class Form(Struct, frozen=True):
    """What is asked of a firewall, and how the answer is printed, as options say it."""

    lld: Annotated[
        Literal["seed", "array"],
        typer.Option(metavar="seed|array", help="For `discover`: tunnels in the old form, or all proxy-ids."),
    ] = "seed"
    down_value: Annotated[int, typer.Option(metavar="NUMBER", help="For `status`: the number for down.")] = 2
    degraded_value: Annotated[int, typer.Option(metavar="NUMBER", help="For `status`: the number for degraded.")] = 1
    timeout: Annotated[
        float | None,
        typer.Option(
            min=0.5, max=600, metavar="SECONDS", help="Time limit for each firewall [default: its request_timeout]."
        ),
    ] = None
    sas: Annotated[bool, typer.Option("--sas", help="For `all`: add gateways and lifetimes; three more calls.")] = False
    counters: Annotated[
        bool, typer.Option("--counters", help="For `all`: add bytes, packets and errors; one call per tunnel.")
    ] = False

    def make_wants(self, action: Action) -> Wants:
        """Say what has to be asked for an action."""
        sas = self.sas or action == "doctor"
        return Wants(
            role=action not in {"discover", "status"},
            gateways=sas or (action == "discover" and self.lld == "array"),
            ike_sas=sas,
            ipsec_sas=sas,
            counters=self.counters and action in SHOW_ALL,
        )


def answer(action: Action, name: str, form: Form, outcomes: Sequence[Outcome]) -> str | RenderableType:
    """Make what is printed. Raises PanosError where one firewall's tunnels are asked for and not known."""
    match action:
        case "list":
            return listing.show_outcomes(outcomes)
        case "doctor":
            return listing.examine(outcomes)
        case "discover":
            return (zabbix.write_array if form.lld == "array" else zabbix.write_discovery)(outcomes[0])
        case "status":
            condition = outcomes[0].find(name)
            return zabbix.write_status(condition, down_value=form.down_value, degraded_value=form.degraded_value)
    return zabbix.write_document(outcomes[0])


def is_whole(action: Action, outcomes: Sequence[Outcome]) -> bool:
    """Tell whether all is known that an action shows."""
    return all(outcome.is_whole if action in SHOW_ALL else outcome.is_known for outcome in outcomes)


def read_template() -> str:
    """Return the template for Zabbix."""
    return resources.files(__package__).joinpath("zabbix_template.yaml").read_text("utf-8")
