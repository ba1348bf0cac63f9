"""Where the measurements take place: GPU, driver, versions, power limit and commit."""

import importlib.metadata
import os
import platform
import subprocess
import time

import torch

from benchmarks.gpu.part import PartOptions, PartResult, run_part
from src.costs.table import Table
from src.runs.provenance import code_version


def measure(options: PartOptions) -> PartResult:
    """Return the facts that figures depend on."""
    code = code_version()
    commit = code["git_commit"]
    facts = {
        "date": time.strftime("%F"),
        "device": torch.cuda.get_device_name() if options.device == "cuda" else f"{platform.machine()} CPU",
        **(_gpu_facts() if options.device == "cuda" else {}),
        "CPU cores": str(os.cpu_count()),
        "CPU threads of torch": str(torch.get_num_threads()),
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "CUDA of torch": torch.version.cuda or "none",
        "cuDNN": str(torch.backends.cudnn.version() or "none"),
        "torchvision": _version("torchvision"),
        "triton": _version("triton"),
        "commit": f"{commit}{' with changes' if code['git_dirty'] else ''}" if commit else "unknown",
    }
    rows = [[name, value] for name, value in facts.items()]
    return PartResult([Table("Environment", ["what", "value"], rows)], facts)


def _gpu_facts() -> dict[str, str]:
    """Return the GPU's memory, and what nvidia-smi reports of its driver and power limit."""
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    facts = {"GPU memory": f"{properties.total_memory / 2**30:.0f} GiB"}
    names = {"driver": "driver_version", "power limit": "power.limit"}
    query = ["nvidia-smi", f"--id=GPU-{properties.uuid}", f"--query-gpu={','.join(names.values())}"]
    try:
        process = subprocess.run(
            [*query, "--format=csv,noheader"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return facts | dict.fromkeys(names, "unknown (no answer from nvidia-smi)")
    return facts | dict(zip(names, process.stdout.strip().split(", "), strict=True))


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    run_part(measure)
