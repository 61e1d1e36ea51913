"""A real browser for the tests of pages: Debian's chromium, driven by playwright; skipped where there is none."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ED25519_SINCE = 137


# While it is driven an event loop runs in this thread, and tests of other modules need one of their own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no chromium: tools/setup browser installs it")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=program)
        if int(started.version.split(".")[0]) < ED25519_SINCE:
            pytest.skip(f"chromium {started.version} has no Ed25519 in WebCrypto")
        yield started
        started.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a person keeps page, file and charter."""
    return tmp_path
