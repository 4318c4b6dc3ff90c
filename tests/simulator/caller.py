"""Someone who calls a simulated firewall and looks at the bytes that come back."""

from typing import Self

import requests

from tests.limits import PATIENCE
from uidsync.simulator.process import Simulator


def write_message(payload: str) -> str:
    """Write a `uid-message` with this payload."""
    return f"<uid-message><version>1.0</version><type>update</type><payload>{payload}</payload></uid-message>"


def write_logins(users: dict[str, str], timeout: int = 60) -> str:
    """Write a section of logins."""
    entries = "".join(f'<entry name="{user}" ip="{ip}" timeout="{timeout}"/>' for ip, user in users.items())
    return f"<login>{entries}</login>"


class Caller:
    """Someone with the right key and the right CA. A context manager."""

    def __init__(self, simulator: Simulator, host: str = "127.0.0.1") -> None:
        self.url = f"https://{host}:{simulator.port}/api/"
        self.session = requests.Session()
        self.session.trust_env = False  # a CA of the environment's would win over ours
        self.session.verify = str(simulator.ca_file)
        self.session.headers["X-PAN-KEY"] = simulator.api_key

    def post(self, **parameters: str) -> requests.Response:
        """Send a call as a form; underscores in names stand for hyphens."""
        form = {name.replace("_", "-"): value for name, value in parameters.items()}
        return self.session.post(self.url, data=form, timeout=PATIENCE, allow_redirects=False)

    def send(self, payload: str, **parameters: str) -> requests.Response:
        """Send a `uid-message` with this payload."""
        return self.post(type="user-id", cmd=write_message(payload), **parameters)

    def log_in(self, **parameters: str) -> requests.Response:
        """Send one login that is right."""
        return self.send(write_logins({"192.0.2.1": "ada"}), **parameters)

    def ask(self, command: str, **parameters: str) -> str:
        """Send an operational command and return the answer."""
        return self.post(type="op", cmd=command, **parameters).text

    def show(self, what: str, plane: str = "ip-user-mapping-mp", **parameters: str) -> str:
        """Ask for mappings and return what is inside the result."""
        answer = self.ask(f"<show><user><{plane}>{what}</{plane}></user></show>", **parameters)
        return answer.removeprefix('<response status="success"><result>').removesuffix("</result></response>")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.session.close()
