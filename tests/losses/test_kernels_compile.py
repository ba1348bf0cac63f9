"""Triton compiles the kernels for GPUs that are not there: its interpreter accepts more than its compiler."""

import itertools
import os

import pytest

from tests.support.exhaustive import EXHAUSTIVE

triton = pytest.importorskip("triton")
pytestmark = [
    pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="needs the compiler"),
    pytest.mark.slow,
]
POINTERS = {
    "keys rulers lines table finer held": "*i64",
    "facts indices owners first": "*i32",
    "uppers rests updates loss incoming": "*fp32",
    "integrals widths sums weights": "*fp64",
}
TYPES = {name: dtype for names, dtype in POINTERS.items() for name in names.split()}
TYPES |= dict.fromkeys(["n", "capacity", "bins", "room", "programs", "size"], "i32")
TYPES |= dict.fromkeys(["delta_bits", "limit_bits"], "i64")


H100 = ("cuda", 90, 32)  # backend, architecture and threads in a warp
OTHERS = {
    "T4": ("cuda", 75, 32),
    "A100": ("cuda", 80, 32),
    "L4": ("cuda", 89, 32),
    "B200": ("cuda", 100, 32),
    "RTX 5090": ("cuda", 120, 32),
    "MI300": ("hip", "gfx942", 64),
    "RX 7900": ("hip", "gfx1100", 32),
}


def compile_kernel(name, gpu=H100, **constants):
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from src.losses import launch

    logits, targets = constants.pop("logits", "fp32"), constants.pop("targets", "i8")
    types = TYPES | {"logits": f"*{logits}", "targets": f"*{targets}", "out": f"*{logits}"}
    kernel, (block, warps) = getattr(launch, name), launch.SHAPES[name]
    constants["BLOCK"] = block
    source = ASTSource(
        fn=kernel,
        signature={arg: "constexpr" if arg in constants else types[arg] for arg in kernel.arg_names},
        constexprs={(kernel.arg_names.index(arg),): value for arg, value in constants.items()},
    )
    compiled = triton.compile(source, target=GPUTarget(*gpu), options={"num_warps": warps, **launch.OPTIONS})
    assert compiled.asm["cubin" if gpu[0] == "cuda" else "hsaco"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


DTYPES = ("fp32", "fp16", "bf16") if EXHAUSTIVE else ("bf16",)
TARGETS = ("i8", "u8", "i64", "fp32", "bf16", "fp64") if EXHAUSTIVE else ("i8",)


@pytest.mark.parametrize(("logits", "targets"), list(itertools.product(DTYPES, TARGETS)))
def test_the_kernels_that_read_logits(logits, targets):
    types = {"logits": logits, "targets": targets}
    compile_kernel("collect", AUC=True, UNSIGNED=targets == "u8", **types)
    for heaviside in (False, True) if EXHAUSTIVE else (False,):
        compile_kernel("count", HEAVISIDE=heaviside, **types)
        compile_kernel("update", HEAVISIDE=heaviside, **types)


@pytest.mark.skipif(not EXHAUSTIVE, reason="takes half a minute")
@pytest.mark.parametrize("heaviside", [False, True])
def test_the_kernels_that_rank(heaviside):
    compile_kernel("rank", HEAVISIDE=heaviside)
    compile_kernel("lay_grid", HEAVISIDE=heaviside)
    for auc, interpolated in ((False, True), (False, False), (True, False)):
        compile_kernel("solve", HEAVISIDE=heaviside, AUC=auc, INTERPOLATED=interpolated, MERGED=64)


@pytest.mark.skipif(not EXHAUSTIVE, reason="takes minutes")
@pytest.mark.parametrize("gpu", OTHERS.values(), ids=OTHERS)
def test_other_gpus(gpu):
    compile_kernel("collect", gpu, AUC=True, UNSIGNED=False)
    compile_kernel("solve", gpu, HEAVISIDE=False, AUC=False, INTERPOLATED=True, MERGED=64)
    for name in ("rank", "lay_grid", "count", "update"):
        compile_kernel(name, gpu, HEAVISIDE=False)
