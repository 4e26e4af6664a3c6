import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_imports_go_one_way():
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_heavy_libraries_are_not_imported_by_the_command_line():
    """`ratchet --help` stays quick: each library is loaded where it is used."""
    program = "import sys, cli.main; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    heavy = {"torch", "mlflow", "kfp", "kserve", "dvc", "evidently", "great_expectations", "sklearn", "pandas", "scipy"}
    assert not heavy & set(done.stdout.split())
