"""Who imports whom, and how long a module may be: what the design says, held by walking the code."""

import ast
import re
import sys
from pathlib import Path

import pytest

import uidsync

PACKAGE = Path(__file__).parents[1] / "uidsync"
LONGEST = 400  # lines of a module
EFFECTS = {
    "requests", "urllib3", "pymysql", "tenacity", "structlog", "typer", "rich",
    "time", "os", "random", "secrets", "logging", "socket", "ssl", "threading", "subprocess", "sys", "sqlite3",
    "tempfile",
}  # fmt: skip
STANDS_ON = {
    "cryptography", "durationpy", "lxml", "pydantic", "pymysql", "re2", "requests", "rich", "structlog", "tenacity",
    "typer", "urllib3",
}  # fmt: skip
FORBIDDEN = {"manager", "handler", "helper", "util", "utils", "common", "info", "misc"}


def name_of(file):
    """Return the dotted name of a module inside the package; of the package itself the empty one."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {name_of(file): file for file in sorted(PACKAGE.rglob("*.py"))}
SAYS = {name: ast.get_docstring(ast.parse(file.read_text("utf-8"))) or "" for name, file in MODULES.items()}
PURE = [
    name for name, says in SAYS.items() if ("\nPure" in says or "No I/O" in says) and not name.startswith("simulator.")
]


def find_imports(file):
    """Yield every module that a file imports, wherever in it, and whether at its top level."""
    tree = ast.parse(file.read_text("utf-8"))
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            yield name, node in tree.body


def inside(name):
    """Return the modules of uidsync that a module imports, without the package's own name."""
    found = {imported for imported, _ in find_imports(MODULES[name]) if imported.partition(".")[0] == "uidsync"}
    return {imported.partition(".")[2] for imported in found} - {"", "__version__"}


def outside(name):
    """Return the packages that a module imports from elsewhere."""
    return {imported.partition(".")[0] for imported, _ in find_imports(MODULES[name])} - {"uidsync", "__future__"}


def of(folder):
    """Return the modules of a folder."""
    return [name for name in MODULES if name == folder or name.startswith(f"{folder}.")]


def is_of(name, *folders):
    """Tell whether a module lies in any of these folders."""
    return any(name == folder or name.startswith(f"{folder}.") for folder in folders)


CORE = [name for name in MODULES if not is_of(name, "cli", "simulator", "integrations", "panos", "__main__")]


def test_the_walk_sees_imports():
    """The walk finds what is imported, inside functions too; without that the rest would prove nothing."""
    assert "panos.userid" in inside("plan")
    assert {"requests", "lxml"} <= outside("panos.client")
    assert "source.mysql" in inside("cli.wiring")
    assert {"plan", "report", "panos.errors", "panos.xmlapi", "panos.userid", "source.rows"} <= set(PURE)
    assert {"sync", "deliver", "source.mysql"} <= set(CORE)


@pytest.mark.parametrize("name", of("panos"))
def test_panos_knows_nothing_else_of_uidsync(name):
    """The knowledge of Palo Alto's protocols stands by itself."""
    assert {imported for imported in inside(name) if not is_of(imported, "panos")} == set()


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_have_no_effects(name):
    """A pure module imports nothing that acts, and nothing of ours that does."""
    assert outside(name) & EFFECTS == set()
    ours = {imported for imported in inside(name) if imported in MODULES}
    assert {imported for imported in ours if imported not in PURE} == set()


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_look_at_no_clock(name):
    """Nor do they ask what time it is."""
    calls = [node for node in ast.walk(ast.parse(MODULES[name].read_text("utf-8"))) if isinstance(node, ast.Call)]
    assert [ast.unparse(call) for call in calls if ast.unparse(call.func).endswith((".now", ".today", ".utcnow"))] == []


@pytest.mark.parametrize("name", CORE)
def test_the_core_imports_neither_neighbours_nor_simulators(name):
    """The core works with integrations/ and simulator/ deleted; it never looks up at the command line either."""
    assert {imported for imported in inside(name) if is_of(imported, "integrations", "simulator", "cli")} == set()


@pytest.mark.parametrize("name", of("simulator"))
def test_simulators_know_nothing_of_what_they_test(name):
    """One mistake about a protocol cannot stand on both sides of a test."""
    assert {imported for imported in inside(name) if not is_of(imported, "simulator")} == set()


@pytest.mark.parametrize("name", of("integrations"))
def test_neighbours_import_neither_the_core_nor_each_other(name):
    """What two integrations share is knowledge of PAN-OS."""
    own = ".".join(name.split(".")[:2])
    assert {imported for imported in inside(name) if not is_of(imported, "panos", own)} == set()


@pytest.mark.parametrize("name", of("cli"))
def test_commands_load_their_neighbours_inside(name):
    """No command loads an integration before it is called: a sync must not load a web server."""
    top = {imported.partition(".")[2] for imported, is_top in find_imports(MODULES[name]) if is_top}
    assert {imported for imported in top if is_of(imported, "integrations")} == set()


@pytest.mark.parametrize("name", CORE + of("panos"))
def test_the_core_stands_on_few_packages(name):
    """Beyond Python the core imports the packages that it says it stands on, and no other."""
    assert outside(name) - sys.stdlib_module_names <= STANDS_ON


@pytest.mark.parametrize("name", MODULES)
def test_no_module_is_too_long(name):
    """A module that is longer knows or decides more than one thing."""
    assert len(MODULES[name].read_text("utf-8").splitlines()) <= LONGEST


@pytest.mark.parametrize("name", MODULES)
def test_a_module_opens_by_saying_what_it_is(name):
    """Every module opens with a sentence, and no name says nothing."""
    assert (
        (ast.get_docstring(ast.parse(MODULES[name].read_text("utf-8"))) or "").partition("\n")[0].endswith((".", ":"))
    )
    assert not FORBIDDEN & set(name.split("."))


def test_every_rule_that_is_cited_is_told():
    """The rules that docstrings and comments cite stand in the package's own docstring, fourteen of them."""
    told = {int(number) for number in re.findall(r"^ ?(\d+)\. ", uidsync.__doc__, re.MULTILINE)}
    cited = set()
    for file in PACKAGE.rglob("*.py"):
        for numbers in re.findall(r"[Rr]ules? ([0-9, toand]+)", file.read_text("utf-8")):
            cited |= {int(number) for number in re.findall(r"\d+", numbers)}
    assert told == set(range(1, 15))
    assert cited <= told
