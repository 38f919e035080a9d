"""Where numbers come from: code, weights, commit and machine. The last two are in no identity."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from progym.agents.identity import versions
from progym.agents.storage import digest_files


@cache
def run_versions() -> Mapping[str, str]:
    """Name what computes a run: what computes its stages, and our own code that evaluates."""
    folder = Path(__file__).parent
    evaluating = [folder / name for name in ("cells.py", "evaluation.py")]
    return {**versions(), "evaluation": digest_files(folder, evaluating)[:16]}


def hardware() -> dict[str, str | int]:
    """Describe the machine without naming it."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count() or 1,
        "accelerator": _accelerator(),
    }


@cache
def commit() -> str:
    """Give the commit of the checkout progym runs from, "+changes" if edited; empty if none."""
    package = Path(__file__).parent.parent
    if not _git(package, "ls-files", "__init__.py"):
        return ""  # installed somewhere below a checkout that is not ours
    head = _git(package, "rev-parse", "HEAD")
    return f"{head}+changes" if head and _git(package, "status", "--porcelain", ".") else head


def weights_digest(model: str) -> str | None:
    """Hash the weights a model spec names; None for models whose weights are not here."""
    folder = _weights_folder(model)
    files = sorted(folder.glob("*.safetensors")) if folder else []
    if not files:
        return None
    total = hashlib.sha256()
    for path in files:
        total.update(path.read_bytes())
    return total.hexdigest()


def _weights_folder(model: str) -> Path | None:
    if model == "tiny":
        return Path(__file__).parent.parent / "agents" / "tiny" / "weights"
    if model == "smollm2":
        from progym.agents.models.smollm2 import smollm2_folder

        return smollm2_folder()
    folder = Path(model).expanduser()
    return folder if folder.is_dir() else None


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _accelerator() -> str:
    """Ask torch where it is loaded already; a run that computes nothing with it has none."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return "none"
    return torch.cuda.get_device_name(0)
