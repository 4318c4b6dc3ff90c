"""Who may import whom, and how long a module may be: held by walking the code.

`python tests/test_architecture.py` prints who may import whom, as ARCHITECTURE.md shows it.
"""

import ast
import re
import sys
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "uidsync"
LONGEST = 350  # lines of a module
LONGEST_FUNCTION, MOST_PARAMETERS = 50, 7  # lines; the object itself does not count

# What knows nothing of the job.
GROUND = ("deadline", "exposition", "refusal", "side_by_side", "spelling", "statements")

# Who may import whom: a folder those that are named, and itself. From the ground up, so that no arrow runs back.
MAY_IMPORT = {
    "panos": (),
    "panos.wire": ("panos",),
    "panos.logs": ("panos", "panos.wire"),
    "panos.userid": ("panos", "panos.wire", "panos.logs"),
    "panos.tunnels": ("panos", "panos.wire", "panos.userid"),
    "config": (),
    "source": ("panos", "config"),
    "ledger": ("panos", "config", "source"),
    "plan": ("panos", "config", "source", "ledger"),
    "reading": ("panos", "config", "source", "ledger", "plan"),
    "history": ("panos", "config", "source", "ledger", "plan"),
    "report": ("panos", "config", "source", "ledger", "plan"),
    "checks": ("panos", "config", "source", "ledger", "plan", "reading", "report"),
    "standby": ("panos", "config", "source", "ledger", "plan", "reading"),
    "deliver": ("panos", "config", "source", "ledger", "plan", "reading", "report", "standby"),
    "sync": ("panos", "config", "source", "ledger", "plan", "reading", "report", "standby", "deliver"),
    "verify": ("panos", "config", "source", "ledger", "plan", "reading", "report", "standby", "deliver", "sync"),
    "withdraw": ("panos", "config", "source", "ledger", "plan", "reading", "report", "standby", "deliver", "sync"),
    "simulator": (),
    "integrations": ("panos", "config.values"),
}
EFFECTS = {
    "requests", "pymysql", "structlog", "typer", "rich",
    "time", "os", "random", "secrets", "logging", "socket", "ssl", "threading", "subprocess", "sys", "sqlite3",
    "tempfile",
}  # fmt: skip
STANDS_ON = {
    "cryptography", "durationpy", "httptools", "lxml", "msgspec", "pymysql", "re2", "rich", "structlog",
    "typer",
}  # fmt: skip
FORBIDDEN = {"manager", "handler", "helper", "util", "utils", "common", "info", "misc"}


def name_of(file):
    """Return the dotted name of a module inside the package; of the package itself the empty one."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {name_of(file): file for file in sorted(PACKAGE.rglob("*.py"))}


@cache
def parse(name):
    """Return the tree of a module."""
    return ast.parse(MODULES[name].read_text("utf-8"))


@cache
def read_opening(name):
    """Return what a module says of itself."""
    return ast.get_docstring(parse(name)) or ""


@cache
def find_pure():
    """Return the modules that say they are pure."""
    says = {name: read_opening(name) for name in MODULES if not is_of(name, "simulator")}
    return [name for name, words in says.items() if "Pure:" in words or "No I/O" in words]


@cache
def find_imports(name):
    """Return every module that a module imports, wherever in it, and whether at its top level."""
    found = []
    tree = parse(name)
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: a relative import"
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        found += [(imported, node in tree.body) for imported in names]
    return found


def inside(name):
    """Return the modules of uidsync that a module imports, without the package's own name."""
    found = {imported for imported, _ in find_imports(name) if imported.partition(".")[0] == "uidsync"}
    return {imported.partition(".")[2] for imported in found} - {"", "__version__"}


def outside(name):
    """Return the packages that a module imports from elsewhere."""
    return {imported.partition(".")[0] for imported, _ in find_imports(name)} - {"uidsync", "__future__"}


def of(folder):
    """Return the modules of a folder."""
    return [name for name in MODULES if name == folder or name.startswith(f"{folder}.")]


def is_of(name, *folders):
    """Tell whether a module lies in any of these folders."""
    return any(name == folder or name.startswith(f"{folder}.") for folder in folders)


CORE = [name for name in MODULES if not is_of(name, "cli", "simulator", "integrations", "panos", "__main__")]


def find_folder(name):
    """Return the folder of the table that a module lies in; a module of the root is one of its own."""
    return max((folder for folder in MAY_IMPORT if is_of(name, folder)), key=len, default=name.partition(".")[0])


def draw():
    """Draw who may import whom as a table in Markdown."""
    rows = (
        f"| `{folder}` | {', '.join(f'`{name}`' for name in names) or 'nothing'} |"
        for folder, names in MAY_IMPORT.items()
    )
    return "\n".join(("| Folder | May import |", "| --- | --- |", *rows, "| `cli` | everything |"))


def test_the_walk_sees_imports():
    """The walk finds what is imported, inside functions too; without that the rest would prove nothing."""
    assert "panos.userid.messages" in inside("plan.due")
    assert {"ssl", "lxml"} <= outside("panos.wire.client")
    assert "source.mysql" in inside("cli.wiring")
    assert {"plan.due", "report.report", "panos.wire.errors", "panos.wire.xmlapi", "source.rows"} <= set(find_pure())
    assert {"sync", "deliver.workers", "source.mysql"} <= set(CORE)


def each(names, find_wrong):
    """Return what is wrong with each of these modules, where anything is."""
    return {name: wrong for name in names if (wrong := find_wrong(name))}


def test_no_arrow_runs_back_up():
    """A module imports what the table allows its folder, and the command line alone sees everything."""

    def find_wrong(name):
        folder = find_folder(name)
        found = {imported for imported in inside(name) if imported in MODULES and find_folder(imported) != folder}
        return {imported for imported in found if not is_of(imported, *GROUND, *MAY_IMPORT.get(folder, ()))}

    assert each((name for name in MODULES if name and not is_of(name, "cli", "__main__")), find_wrong) == {}


def test_a_terminal_shows_text_as_it_is():
    """Whatever prints by rich looks for no mark-up and no emoji: `:ab:` in an IPv6 address is a name of one."""
    asked = {"Console": {"markup", "emoji"}, "TextColumn": {"markup"}}
    for name in MODULES:
        for node in ast.walk(parse(name)) if "rich" in outside(name) else ():
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in asked:
                said = {word.arg for word in node.keywords if getattr(word.value, "value", None) is False}
                assert asked[node.func.id] <= said, f"{name}, line {node.lineno}"


def test_the_table_has_no_way_back():
    """What a folder may import stands above it in the table."""
    above = set()
    for folder, names in MAY_IMPORT.items():
        assert {name.partition(".")[0] if name == "config.values" else name for name in names} <= above
        above.add(folder)


def test_plans_are_pure():
    """What decides what is sent is pure, but for the one file that fetches what is decided on."""
    assert {name for name in of("plan") if name not in find_pure()} <= {"plan", "plan.dispatch"}


def test_pure_modules_have_no_effects():
    """A pure module imports nothing that acts, and nothing of ours that does."""
    pure = find_pure()
    acting = MODULES.keys() - set(pure)
    assert each(pure, lambda name: outside(name) & EFFECTS | inside(name) & acting) == {}


def test_pure_modules_look_at_no_clock():
    """Nor do they ask what time it is."""

    def find_wrong(name):
        calls = [ast.unparse(node.func) for node in ast.walk(parse(name)) if isinstance(node, ast.Call)]
        return [call for call in calls if call.endswith((".now", ".today", ".utcnow"))]

    assert each(find_pure(), find_wrong) == {}


def test_neighbours_import_neither_the_core_nor_each_other():
    """What two integrations share is knowledge of PAN-OS, the ground floor, and the door of those that listen."""

    def find_wrong(name):
        own = ".".join(name.split(".")[:2])
        shared = (*GROUND, "panos", "config.values", "integrations.door")
        return {each for each in inside(name) if not is_of(each, *shared, own)} - {"config", "integrations"}

    assert each(of("integrations"), find_wrong) == {}


def test_commands_load_no_neighbour():
    """No command but a neighbour's own loads an integration before it is called: a sync must not load a web server."""
    others = of("cli.neighbours")[1:]

    def find_wrong(name):
        top = {imported.partition(".")[2] for imported, is_top in find_imports(name) if is_top} & MODULES.keys()
        return {imported for imported in top if is_of(imported, "integrations", *others)}

    assert each((name for name in of("cli") if name not in others), find_wrong) == {}


def test_a_neighbours_command_knows_one_neighbour():
    """What makes one neighbour's parts imports no other, for any of their folders may be deleted."""

    def find_wrong(name):
        known = {imported.split(".")[1] for imported in inside(name) if is_of(imported, "integrations")}
        return known if len(known) > 1 else set()

    assert each(of("cli.neighbours")[1:], find_wrong) == {}


def test_the_core_stands_on_few_packages():
    """Beyond Python the core imports the packages that it says it stands on, and no other."""
    known = sys.stdlib_module_names | STANDS_ON
    assert each(CORE + of("panos"), lambda name: outside(name) - known) == {}


def test_no_module_is_too_long():
    """A module that is longer knows or decides more than one thing."""
    lines = {name: len(file.read_text("utf-8").splitlines()) for name, file in MODULES.items()}
    assert {name: count for name, count in lines.items() if count > LONGEST} == {}


def list_functions(name):
    """List the functions of a module: name, lines and parameters."""
    for node in ast.walk(parse(name)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names = [each.arg for each in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            yield node.name, node.end_lineno - node.lineno + 1, len(names) - (names[:1] in (["self"], ["cls"]))


def test_no_function_is_too_long():
    """A function fits on a screen, and nobody has to count its parameters."""

    def find_wrong(name):
        return [
            (function, lines, parameters)
            for function, lines, parameters in list_functions(name)
            if lines > LONGEST_FUNCTION or parameters > MOST_PARAMETERS
        ]

    assert each((name for name in MODULES if not is_of(name, "simulator")), find_wrong) == {}


def test_every_module_opens_by_saying_what_it_is():
    """Every module opens with a sentence, and no name says nothing."""
    assert [name for name in MODULES if not read_opening(name).partition("\n")[0].endswith((".", ":"))] == []
    assert [name for name in MODULES if FORBIDDEN & set(name.split("."))] == []


def test_every_rule_that_is_cited_is_told():
    """The rules that docstrings and comments cite by name are told on ARCHITECTURE.md, fourteen of them."""
    page = (PACKAGE.parent / "ARCHITECTURE.md").read_text("utf-8").partition("## The rules")[2].partition("\n## ")[0]
    told = {name.lower() for name in re.findall(r"^\| (\w[^|]*?) \|", page, re.MULTILINE)} - {"rule"}
    cited = set()
    for file in PACKAGE.rglob("*.py"):
        for names in re.findall(r"Rules?: ([a-z, ]+)\.", file.read_text("utf-8")):
            cited |= set(re.split(r", | and ", names))
    assert len(told) == 14
    assert cited - told == set()
    assert {"at least once", "nobody"} <= cited


def test_the_architecture_page_shows_the_table():
    """ARCHITECTURE.md shows who may import whom as it is held here."""
    assert draw() in (PACKAGE.parent / "ARCHITECTURE.md").read_text("utf-8")


if __name__ == "__main__":
    sys.stdout.write(draw() + "\n")
