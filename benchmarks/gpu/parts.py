"""The parts of the GPU benchmark, in the order in which they run."""

import importlib.util
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Part:
    """A part: the module `benchmarks.gpu.<name>`.

    Attributes:
        name: of the module, and of the result's file.
        purpose: for people.
        seconds: time limit. Together they are at most 10 minutes.
        packages: that it needs besides torch and torchvision, by the names that pip installs and that Python imports.
        on_cpu: environment variables that it needs on a CPU.
    """

    name: str
    purpose: str
    seconds: float
    packages: dict[str, str]
    on_cpu: dict[str, str] = field(default_factory=dict)


RUN_PACKAGES = {
    "hydra-core": "hydra",
    "omegaconf": "omegaconf",
    "submitit": "submitit",
    "hydra-submitit-launcher": "hydra_plugins.hydra_submitit_launcher",
    "wandb": "wandb",
    "pycocotools": "pycocotools",
    "matplotlib": "matplotlib",
    "tqdm": "tqdm",
    "numpy": "numpy",
    "pillow": "PIL",
}
PARTS = [
    Part("environment", "versions, driver, power limit", 20, {}),
    Part("correctness", "losses and updates against float64 on the CPU", 65, {}),
    Part("training", "short trainings: each precision, determinism, no waits", 90, RUN_PACKAGES),
    Part("two_processes", "losses of two processes against those of one", 75, {}),
    Part("costs", "time and memory of the losses", 140, {}),
    Part(
        "kernels",
        "the Triton kernels: right, without a wait, and how fast",
        120,
        {"triton": "triton"},
        on_cpu={"TRITON_INTERPRET": "1"},  # which Triton reads when torch imports it
    ),
    Part("throughput", "images a second beside torchvision's RetinaNet", 90, {}),
]
QUICK_SECONDS = 300.0  # of each part: --quick is for machines of any speed


def missing_packages(packages: dict[str, str]) -> list[str]:
    """Return the packages, by the names that pip installs, that are not installed."""
    return [package for package, module in packages.items() if not _is_installed(module)]


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of the module's parent
        return False
