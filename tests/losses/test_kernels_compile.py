"""Triton compiles the kernels for an H100 without one: its interpreter accepts more than its compiler."""

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


def compile_for_an_h100(name, **constants):
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
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps, **launch.OPTIONS})
    assert compiled.asm["cubin"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


DTYPES = ("fp32", "fp16", "bf16") if EXHAUSTIVE else ("bf16",)
TARGETS = ("i8", "u8", "i64", "fp32", "bf16", "fp64") if EXHAUSTIVE else ("i8",)


@pytest.mark.parametrize(("logits", "targets"), list(itertools.product(DTYPES, TARGETS)))
def test_the_kernels_that_read_logits(logits, targets):
    types = {"logits": logits, "targets": targets}
    compile_for_an_h100("collect", AUC=True, UNSIGNED=targets == "u8", **types)
    for heaviside in (False, True) if EXHAUSTIVE else (False,):
        compile_for_an_h100("count", HEAVISIDE=heaviside, **types)
        compile_for_an_h100("update", HEAVISIDE=heaviside, **types)


@pytest.mark.skipif(not EXHAUSTIVE, reason="takes half a minute")
@pytest.mark.parametrize("heaviside", [False, True])
def test_the_kernels_that_rank(heaviside):
    compile_for_an_h100("rank", HEAVISIDE=heaviside)
    compile_for_an_h100("lay_grid", HEAVISIDE=heaviside)
    for auc, interpolated in ((False, True), (False, False), (True, False)):
        compile_for_an_h100("solve", HEAVISIDE=heaviside, AUC=auc, INTERPOLATED=interpolated, MERGED=64)
