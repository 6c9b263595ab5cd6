"""The profiles' grouping: an address, an operator or a kernel goes where its work belongs."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from types import SimpleNamespace

import pytest
from torch.autograd import DeviceType

from benchmarks.profiles import addresses, profile, torch_profiler
from benchmarks.profiles.addresses import Frame
from benchmarks.profiles.torch_profiler import Entry


@pytest.mark.parametrize(
    ("chain", "category", "part"),
    [
        ("load@vector.h accumulate sweep_panel sweep tile", "1x1s", "accumulate in tile"),
        ("accumulate tile@fast.h convolve sweep_gated tile", "taps", "accumulate in tile"),
        (
            "half_expm1@gate.h gate@gate.h operator()@tile.h convolve sweep_gated tile",
            "gate",
            "tile",
        ),
        ("store@vector.h operator()@tile.h operator()@tile.h sweep_gated tile", "gate", "tile"),
        ("load_row operator()@tile.h sweep_panel sweep tile", "residual and skip rows", "tile"),
        ("operator()@fast.h convolve sweep_gated tile", "taps", "tile"),
        ("row Source gather_fast gather Tile tile", "gathering inputs", "tile"),
        ("pack_run pack_vector pack_panel pack_at pack run", "packing", "outside of tiles"),
        ("outer add_fast_product backward_tile", "taps", "outer in backward_tile"),
        ("outer add_product add_out_gradient backward_tile", "1x1s", "outer in backward_tile"),
        ("operator()@backward.h sweep_panel sweep backward_tile", "gate", "backward_tile"),
        (
            "store_row operator()@backward.h sweep_conv backward_x_tile",
            "residual and skip rows",
            "backward_x_tile",
        ),
        ("memset pass1", "sums of gradients", "outside of tiles"),
        ("malloc allocate run", "everything else", "outside of tiles"),
    ],
)
def test_an_address_by_its_inlined_functions(chain, category, part):
    frames = tuple(Frame(*name.split("@")) for name in f"{chain} counted".split())
    assert addresses.category(frames) == category
    assert addresses.part(frames) == part


@pytest.mark.parametrize(
    ("name", "shapes", "category"),
    [
        ("aten::mkldnn_convolution", ((1, 64, 1, 99), (128, 64, 1, 2)), "taps"),
        ("aten::cudnn_convolution", ((1, 64, 99), (192, 64, 1)), "1x1s"),
        ("aten::convolution_backward", ((1, 128, 9), (1, 64, 9), (128, 64, 2)), "taps"),
        ("aten::mm", ((192, 99), (99, 64)), "1x1s"),
        ("aten::tanh", ((1, 64, 99),), "gate"),
        ("aten::mul", ((1, 64, 99), (1, 64, 99)), "gate"),
        ("aten::mul", ((1, 64, 99), ()), "residual and skip rows"),
        ("aten::add", ((1, 64, 99), (1, 64, 99)), "residual and skip rows"),
        ("aten::constant_pad_nd", ((1, 64, 99),), "packing and copies"),
        ("aten::sum", ((1, 192, 99),), "sums of gradients"),
        ("aten::slice", ((1, 64, 99),), "launch and host"),
    ],
)
def test_an_operator_of_eager_pytorch(name, shapes, category):
    assert Entry(name, shapes).operator == category


@pytest.mark.parametrize(
    ("name", "category"),
    [
        ("void wavenet::cuda::layers_kernel<Shape<...>>(LayersArguments)", "fused forward"),
        ("void wavenet::cuda::fused_backward_kernel<__nv_bfloat16, 2>", "fused backward"),
        ("void wavenet::cuda::(anonymous namespace)::pack_kernel<float>", "packing and copies"),
        ("void wavenet::cuda::(anonymous namespace)::sum_partials_kernel<float>", "sums of"),
        ("layer_kernel", "fused forward"),
        ("layer_gradient_kernel", "fused backward"),
        ("convolution_kernel", "taps"),
        ("void at::native::reduce_kernel<512, 1, ReduceOp<float>>", "sums of gradients"),
        ("Memcpy DtoD (Device -> Device)", "packing and copies"),
        ("void at::native::vectorized_elementwise_kernel<4, FillFunctor<float>>", "packing"),
        ("ampere_sgemm_128x64_tn", "other kernels"),
    ],
)
def test_a_kernel(name, category):
    assert Entry(name).kernel.startswith(category)


def test_a_step_of_eager_pytorch_is_all_there():
    workload = replace(profile.WORKLOAD, time=100, dilations=(1, 2))
    rows = profile.profile_eager("step", "float32", rounds=1, workload=workload)["rows"]
    found = {row["category"]: row["calls"] for row in rows}
    assert set(found) == {
        *("taps", "gate", "1x1s", "residual and skip rows", "sums of gradients"),
        *("packing and copies", "launch and host"),
    }
    assert found["taps"] == 3 * len(workload.dilations)  # forward, again, and backward
    assert found["1x1s"] == 3 * len(workload.dilations)
    assert sum(row["share"] for row in rows) == pytest.approx(1)


def test_entries_of_torchs_profiler():
    def event(key, device, shapes, us):
        return SimpleNamespace(
            key=key, device_type=device, input_shapes=shapes, self_device_time_total=us, count=2
        )

    events = [
        event("aten::mul", DeviceType.CPU, [[1, 64, 9], []], 500.0),
        event("aten::slice", DeviceType.CPU, [[1, 64, 9], [], []], 0.0),
        event("layer_kernel", DeviceType.CUDA, [], 3000.0),
    ]
    seen = SimpleNamespace(key_averages=lambda group_by_input_shape: events)
    assert torch_profiler._entries(seen, kernels=True) == {Entry("layer_kernel"): (3.0, 2)}
    mul = Entry("aten::mul", ((1, 64, 9), ()))
    assert torch_profiler._entries(seen, kernels=False) == {mul: (0.5, 2)}


def test_callgrind_files_are_read():
    own, calls, objects = addresses.parse_callgrind(
        "ob=/program\nfl=a.cpp\nfn=outer\n0x10 1 5\ncob=/lib\ncfn=inner\ncalls=2 0x80\n0x12 1 40\n"
        "0x14 2 1\n\nob=/lib\nfn=inner\n0x80 0 40\n"
    )
    assert own == {"outer": {0x10: 5, 0x14: 1}, "inner": {0x80: 40}}
    assert calls == {"inner": {("outer", 0x12): 40}}
    assert objects == {"outer": "/program", "inner": "/lib"}


@pytest.mark.skipif(shutil.which("g++") is None or shutil.which("addr2line") is None, reason="GNU")
def test_inlined_functions_are_found(tmp_path):
    source = tmp_path / "kernels.cpp"
    source.write_text(
        "namespace wavenet { namespace cpu { namespace in_avx2_float {\n"
        "volatile int seen;\n"
        "inline void gate(int i) { seen = i; }\n"
        "template <class T> inline void convolve(T i) { gate(i); }\n"
        "__attribute__((noinline)) void tile() { convolve(2); }\n"
        "}}}\nint main() { wavenet::cpu::in_avx2_float::tile(); }\n"
    )
    program = tmp_path / "program"
    subprocess.run(["g++", "-O2", "-g", str(source), "-o", str(program)], check=True)
    lines = subprocess.run(["nm", str(program)], check=True, capture_output=True, text=True).stdout
    start = next(int(line.split()[0], 16) for line in lines.splitlines() if "4tileEv" in line)
    chains = addresses.inlined_at(program, range(start, start + 8)).values()
    found = {tuple(frame.function for frame in chain) for chain in chains}
    assert ("gate", "convolve", "tile") in found
    assert all(frame.file == source.name for chain in chains for frame in chain)
