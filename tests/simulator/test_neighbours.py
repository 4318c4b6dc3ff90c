"""Other people's clients, unmodified, against the simulated firewall: it answers as what they were written for."""

import pan.xapi
import panos.errors
import panos.firewall
import pytest

from tests.limits import PATIENCE
from tests.simulator.caller import write_logins, write_message

# Both are older than the interpreter's present opinions.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def pan_python(firewall):
    """Give pan-python's client, which has to ask for a key first."""
    return pan.xapi.PanXapi(
        hostname="127.0.0.1",
        port=str(firewall.port),
        api_username="admin",
        api_password="admin",  # noqa: S106 - the device's default
        timeout=PATIENCE,
    )


@pytest.fixture
def pan_os_python(firewall):
    """Give pan-os-python's device."""
    return panos.firewall.Firewall("127.0.0.1", api_key=firewall.api_key, port=firewall.port)


def test_pan_python_logs_in_and_out(firewall, pan_python):
    """pan-python makes a key, logs a user in, reads the mapping back and logs the user out."""
    pan_python.user_id(write_message(write_logins({"192.0.2.1": "CAMPUS\\ada"})), vsys="vsys1")
    assert pan_python.status == "success"
    assert firewall.mappings() == {"192.0.2.1": "CAMPUS\\ada"}
    pan_python.op('show user ip-user-mapping ip "192.0.2.1"', cmd_xml=True)
    assert pan_python.element_root.findtext("result/entry/user") == "CAMPUS\\ada"
    logout = write_message('<logout><entry name="CAMPUS\\ada" ip="192.0.2.1"/></logout>')
    pan_python.user_id(logout)
    assert firewall.mappings() == {}
    with pytest.raises(
        pan.xapi.PanXapiError, match=r"^name: CAMPUS\\ada ip: 192.0.2.1 message: Delete mapping failed$"
    ):
        pan_python.user_id(logout)


def test_pan_python_reads_refusals(firewall, pan_python):
    """pan-python finds the words of a wrong key, of a role, of a session and of a message that is none."""
    for fault, words in (
        ("invalid_key", "URLError: code: 403"),
        ("role_missing", "URLError: code: 403"),
        ("invalid_key_old", "Invalid credentials."),
        ("session_timed_out", "Session timed out"),
    ):
        firewall.do("fault", name=fault, types=["user-id"])
        with pytest.raises(pan.xapi.PanXapiError, match=words):
            pan_python.user_id(write_message("<login/>"))
    firewall.do("fault", name=None)
    with pytest.raises(pan.xapi.PanXapiError, match="type is invalid"):
        pan_python.user_id("<uid-message/>")


def test_pan_python_reads_logs(firewall, pan_python):
    """pan-python waits for a log job and finds its entries."""
    firewall.do("learn", ip="192.0.2.2", user="grace")
    pan_python.user_id(write_message(write_logins({"192.0.2.1": "ada"})))
    pan_python.log(log_type="userid", nlogs="10")
    assert [entry.findtext("user") for entry in pan_python.element_root.iterfind("result/log/logs/entry")] == ["ada"]


def test_pan_os_python_logs_in_and_out(firewall, pan_os_python):
    """pan-os-python sends batches and reads what the device would not do."""
    users = pan_os_python.userid
    users.batch_start()
    users.login("CAMPUS\\ada", "192.0.2.1", timeout=30)
    users.logins([("grace", "192.0.2.2"), ("alan", "192.0.2.3", 5)])
    users.batch_end()
    assert firewall.mappings() == {"192.0.2.1": "CAMPUS\\ada", "192.0.2.2": "grace", "192.0.2.3": "alan"}
    users.logout("grace", "192.0.2.2")
    with pytest.raises(panos.errors.PanDeviceXapiError, match="Delete mapping failed"):
        users.logouts([("grace", "192.0.2.2"), ("alan", "192.0.2.3")])
    assert firewall.mappings() == {"192.0.2.1": "CAMPUS\\ada"}


def test_pan_os_python_tags(pan_os_python):
    """pan-os-python registers tags, knows a duplicate for what it is, and reads tags and groups back."""
    users = pan_os_python.userid
    for _time in range(2):
        users.register("192.0.2.1", ["quarantine", "lab"], timeout=60)
        users.tag_user("CAMPUS\\ada", ["staff"])
    assert {ip: sorted(tags) for ip, tags in users.get_registered_ip().items()} == {"192.0.2.1": ["lab", "quarantine"]}
    assert users.get_registered_ip(tags="other") == {}
    assert users.get_user_tags() == {"CAMPUS\\ada": ["staff"]}
    users.untag_user("CAMPUS\\ada")
    assert users.get_user_tags() == {}
    users.set_group("staff", ["ada", "CAMPUS\\grace"])
    assert users.get_groups() == ["staff"]
    assert users.get_group_members("staff") == ["ada", "CAMPUS\\grace"]
    assert users.get_group_members("nobody") == []


def test_pan_os_python_knows_the_device(pan_os_python):
    """pan-os-python reads version, serial and virtual systems."""
    pan_os_python.refresh_system_info()
    assert (pan_os_python.version, pan_os_python.multi_vsys) == ("10.2.9", False)


def test_pan_os_python_tells_a_wrong_key(firewall, pan_os_python):
    """pan-os-python is forbidden a wrong key, and knows the words of older devices for one."""
    firewall.do("key", value="another")
    with pytest.raises(panos.errors.PanURLError, match="code: 403 reason: Forbidden"):
        pan_os_python.userid.login("ada", "192.0.2.1")
    firewall.do("fault", name="invalid_key_old")
    with pytest.raises(panos.errors.PanInvalidCredentials):
        pan_os_python.userid.login("ada", "192.0.2.1")
