"""Sending alone, batches of 100 to one firewall that answers at once."""

from tests.bench.fast_firewall import FastFirewall
from tests.bench.ground import TIMES, medians, scaled, write_entries

COUNT = scaled(60_000, 6000)


def test_sending_beside_the_libraries(ground, ratios):
    """The client sends eight times as many mappings a second as pan-os-python; the stand-in takes twice as many."""
    entries = write_entries(ground.place / "entries.json", COUNT)
    rates = {}
    with FastFirewall.start(0.0) as firewall, FastFirewall.start(0.0, options=("--nagle",)) as slow:

        def send(rival, door=firewall, count=entries):
            return ground.run_rival(rival, entries=str(count), ports=door.ports, ca_file=str(door.ca_file))

        names = ("uidsync", "pan-os-python", "pan-python", "socket")
        runs = [lambda name=name: send(name) for name in names]
        for name, took in zip(names, medians(*runs, by=lambda took: float(took.out)), strict=True):
            rates[name] = COUNT / float(took.out)
        assert firewall.ask()[0]["entries"] == COUNT * len(names) * TIMES
        few = write_entries(ground.place / "few.json", 3000)
        quick, held = medians(
            lambda: send("pan-python", count=few),
            lambda: send("pan-python", slow, few),
            by=lambda took: float(took.out),
            times=1,
        )
    ratios.add("mappings a second / pan-os-python", rates["uidsync"], rates["pan-os-python"], "/s", least=8, before=4.2)
    ratios.add("mappings a second / pan-python", rates["uidsync"], rates["pan-python"], "/s")
    ratios.add("mappings a second from a bare socket / ours", rates["socket"], rates["uidsync"], "/s", least=2)
    ratios.add("30 connections without TCP_NODELAY / with", float(held.out), float(quick.out))
    ratios.raise_if_missed()
