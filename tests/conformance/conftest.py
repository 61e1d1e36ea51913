"""Go, where it is there."""

import os
import re
import shutil
import subprocess

import pytest
from gotools import Go


@pytest.fixture(scope="session")
def go(tmp_path_factory: pytest.TempPathFactory) -> Go:
    program = shutil.which("go", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/local/go/bin")))
    if program is None:
        pytest.skip("Go is not installed")
    version = subprocess.run([program, "version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"go1\.(\d+)", version)
    if found is None or int(found[1]) < 25:
        pytest.skip(f"Go 1.25 or newer is needed, this is {version.strip()}")
    return Go(program, tmp_path_factory.mktemp("gobin"))
