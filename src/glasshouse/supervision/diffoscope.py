from pathlib import Path


def diffoscope_report(shipped: Path, rebuilt: Path) -> bytes | None:
    return None
