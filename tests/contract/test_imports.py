"""The direction of imports, held by parsing every file: see the picture in the README."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "sslkit"
FILES = sorted(PACKAGE.rglob("*.py"))

# part -> the parts that it may import, besides itself
BASE = {"errors", "types", "catalog", "files"}
LEARNING = BASE | {"ops", "models", "tasks", "recipe", "media", "data"}
ALLOWED = {
    "__init__": set(),
    "errors": set(),
    "files": {"errors"},
    "types": {"errors"},
    "catalog": {"errors"},
    "doctor": {"media"},
    "strict_yaml": {"errors", "catalog"},
    "ops": {"errors", "types"},
    "models": BASE | {"ops"},
    "tasks": BASE | {"ops", "models"},
    "recipe": {"errors", "catalog", "strict_yaml", "tasks"},
    "media": {"errors", "types"},
    "data": BASE | {"ops", "media"},
    "engine": LEARNING,
    "bench": LEARNING | {"engine"},
    "report": {"errors", "types", "ops"},
    "evals": LEARNING | {"engine"},
    "demos": LEARNING | {"engine", "evals", "report"},
    "pages": LEARNING | {"engine", "evals", "demos", "report"},
    "jobs": LEARNING | {"engine", "bench", "evals", "demos", "report", "pages"},
    "cli": BASE | {"recipe", "tasks", "jobs", "report", "doctor"},
    "__main__": {"cli"},
}
OPENERS = {"av", "decord", "soundfile", "scenedetect", "imageio", "torchcodec"}
OPENING_CALLS = {
    "Image.open",
    "cv2.VideoCapture",
    "cv2.VideoWriter",
    "cv2.imdecode",
    "cv2.imencode",
    "cv2.imread",
    "cv2.imwrite",
    "librosa.load",
    "torchaudio.load",
    "torchaudio.save",
}


def imports(source: str) -> set[str]:
    """Dotted names of all that a file imports, inside functions too; `from a import b` gives `a.b`."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the package"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def calls(source: str) -> set[str]:
    """`a.b` for everything called as `a.b(...)`."""
    return {ast.unparse(node.func) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)}


def part(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def parts_imported(source: str) -> set[str]:
    return {name.split(".")[1] for name in imports(source) if name.startswith("sslkit.")}


def upward(file_part: str, source: str) -> set[str]:
    return parts_imported(source) - ALLOWED[file_part] - {file_part}


def other_tasks(file: Path, source: str) -> set[str]:
    """Tasks that a task imports, or all that `sslkit.tasks` would give it."""
    tasks = {".".join(name.split(".")[:3]) for name in imports(source) if name.startswith("sslkit.tasks.")}
    return tasks - {"sslkit.tasks.base", "sslkit.tasks.correspondence", f"sslkit.tasks.{file.stem}"}


def opened(source: str) -> set[str]:
    found = {name.split(".")[0] for name in imports(source)} & OPENERS
    found |= {name for name in imports(source) if name.startswith("torchvision.io")}
    return found | (calls(source) & OPENING_CALLS)


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_point_one_way(file: Path) -> None:
    assert part(file) in ALLOWED, f"{file.name} has no place in the picture: give it one"
    assert not upward(part(file), file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", [f for f in FILES if part(f) == "tasks"], ids=lambda f: f.stem)
def test_one_task_never_imports_another(file: Path) -> None:
    assert not other_tasks(file, file.read_text(encoding="utf-8"))


# The benchmark times the bare decoders.
@pytest.mark.parametrize(
    "file", [f for f in FILES if part(f) not in ("media", "bench")], ids=lambda f: str(f.relative_to(ROOT))
)
def test_only_media_opens_media(file: Path) -> None:
    assert not opened(file.read_text(encoding="utf-8"))


def test_the_checks_find_what_they_look_for() -> None:
    assert upward("ops", "def f():\n    from sslkit.tasks import base") == {"tasks"}
    assert upward("tasks", "import sslkit.media.read\nfrom sslkit import data, engine") == {"media", "data", "engine"}
    assert upward("tasks", "from sslkit.models import trunk\nimport torch") == set()
    assert other_tasks(PACKAGE / "tasks" / "a.py", "from sslkit.tasks.b import x\nfrom sslkit.tasks import base") == {
        "sslkit.tasks.b"
    }
    assert opened("import av.codec\nfrom PIL import Image\nwith Image.open(x): pass") == {"av", "Image.open"}
    assert opened("from PIL import Image\nimport cv2\ncv2.resize(x)") == set()


def test_everything_was_looked_at() -> None:
    assert {part(file) for file in FILES} >= {"errors", "types", "ops", "models", "tasks", "cli", "recipe", "media"}


def test_allowed_arrows_have_no_circle() -> None:
    left = dict(ALLOWED)
    while left:
        lowest = {name for name, below in left.items() if not below & left.keys()}
        assert lowest, f"a circle among {sorted(left)}"
        left = {name: below for name, below in left.items() if name not in lowest}


def test_no_file_is_called_after_nothing() -> None:
    assert not [f for f in FILES if f.stem in {"utils", "util", "helpers", "helper", "common", "misc"}]


def test_help_needs_neither_torch_nor_numpy() -> None:
    code = (
        "import sys\nfrom sslkit import cli\n"
        "assert cli.run(['--help']) == 0\nassert cli.run(['pretrain', '--help']) == 0\n"
        "heavy = {'torch', 'numpy', 'av', 'cv2', 'yaml', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'imported {sorted(heavy)}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_workers_of_prepare_data_start_without_torch() -> None:
    """They start in tenths of a second, and end with their parent from the moment that they run."""
    code = "import sys, sslkit.data.worker, sslkit.data.clips\nsys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT).returncode == 0


def test_packages_and_recipes_are_all_packed() -> None:
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folders = {".".join(f.parent.relative_to(ROOT).parts) for f in PACKAGE.rglob("__init__.py")}
    assert set(setup["packages"]) == folders | {"sslkit.recipes"}
    assert setup["package-dir"]["sslkit.recipes"] == "recipes"
    packed = {file for pattern in setup["package-data"]["sslkit.recipes"] for file in (ROOT / "recipes").glob(pattern)}
    assert packed == {file for file in (ROOT / "recipes").rglob("*") if file.is_file()} != set()
