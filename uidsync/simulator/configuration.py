"""Keeps entries of a simulated firewall's candidate configuration, and what was committed of them.

No sockets. An entry is known by the path that it was written to, and found by that path alone.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from lxml import etree

from uidsync.simulator import replies

JOB = re.compile(rb"\s*<show>\s*<jobs>\s*<id>(\d+)</id>\s*</jobs>\s*</show>\s*")
ABSENT = b'<response status="success" code="7"><result/></response>'
WRITTEN = b'<response status="success" code="20"><msg>command succeeded</msg></response>'


@dataclass(slots=True)
class Configuration:
    """Entries as XML by their paths, and how often somebody committed."""

    candidate: dict[str, bytes] = field(default_factory=dict)
    running: dict[str, bytes] = field(default_factory=dict)
    commits: int = 0
    failure: str = ""  # the words with which commits fail
    jobs: dict[str, str | None] = field(default_factory=dict)  # commits by number, with their failures; None is new

    def answer(self, parameters: Mapping[str, str]) -> bytes:
        """Answer one request of the type config or commit."""
        if parameters.get("type") == "commit":
            return self.commit()
        action, path = parameters.get("action", ""), parameters.get("xpath", "")
        if action == "get":
            known = self.candidate.get(path)
            return replies.success(known.decode()) if known else ABSENT
        if action not in {"set", "edit"}:
            return replies.error(f"{action} is not simulated", 17)
        try:
            given = etree.fromstring(f"<given>{parameters.get('element', '')}</given>")
        except etree.XMLSyntaxError:
            return replies.error("malformed element", 12)
        name = path.rpartition("@name='")[2].removesuffix("']")
        if action == "set":
            entry = etree.Element("entry", name=name)
            entry.extend(list(given))
        elif len(given) == 1 and given[0].get("name") == name:
            entry = given[0]
        else:
            return replies.error("edit failed, may need to override template object", 12)
        entry.set("admin", "admin")
        self.candidate[path] = etree.tostring(entry)
        return WRITTEN

    def describe(self) -> dict[str, dict[str, str]]:
        """Tell the candidate configuration and what is running, by path."""
        parts = {"candidate": self.candidate, "running": self.running}
        return {name: {path: entry.decode() for path, entry in part.items()} for name, part in parts.items()}

    def commit(self) -> bytes:
        """Begin to make the candidate the running configuration; the first question about the job ends it."""
        self.commits += 1
        self.jobs[str(self.commits)] = None
        return replies.job_enqueued(self.commits)

    def show_job(self, document: bytes | None) -> bytes:
        """Answer a question about a commit: the first finds it at work. Return nothing for another command."""
        found = JOB.fullmatch(document or b"")
        if found is None:
            return b""
        number = found[1].decode()
        if number not in self.jobs:
            return replies.error(f"job {number} not found", 17)
        answer = replies.commit_job(number, self.jobs[number])
        if self.jobs[number] is None:
            self.jobs[number] = self.failure
            if not self.failure:
                self.running = dict(self.candidate)
        return answer
