"""A simulated firewall's log in this process, asked as over the wire, in which things move between two questions."""

import threading
from dataclasses import dataclass, field

from uidsync.panos.logs.events import make_enqueue, make_get, read_job, read_job_number
from uidsync.panos.wire.xmlapi import read_response
from uidsync.simulator.call import Call
from uidsync.simulator.counters import Counters
from uidsync.simulator.firewall import Firewall, Settings
from uidsync.simulator.table import Rules, Table


@dataclass(slots=True)
class Log:
    """The log, what happens to it before each next question, and which questions fail."""

    device: Firewall = None
    moves: list = field(default_factory=list)  # what happens before each next question
    queries: list = field(default_factory=list)
    failures: list = field(default_factory=list)

    def __post_init__(self):
        self.device = Firewall(Settings("key"), {None: Table(Rules())}, lambda: 0.0, threading.Lock(), Counters())

    def add(self, *entries):
        """Put entries into the log."""
        self.device.add_log("threat", entries)

    def drop_oldest(self, count):
        """Have the log lose its oldest entries, as one that is full does."""
        del self.device.logs["threat"].kept[:count]

    def fetch(self, query):
        """Run a query to its end."""
        if self.moves:
            self.moves.pop(0)()
        self.queries.append(query)
        if self.failures and (error := self.failures.pop(0)):
            raise error
        job = read_job_number(read_response(200, self._answer(make_enqueue(query))))
        return read_job(200, iter([self._answer(make_get(job))])).entries

    def _answer(self, request):
        call = Call("POST", "/api/", "", request.form, None, "key", "header")
        return self.device.answer(call, self.device.note(call), None).body
