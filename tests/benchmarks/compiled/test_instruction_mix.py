"""Loops are found in disassembled code, and instructions are of their kinds."""

from __future__ import annotations

from benchmarks.compiled import instruction_mix


def test_loops_of_a_disassembled_kernel():
    code = """
.text.layer_kernel:
        /*0000*/                   MOV R1, c[0x0][0x28] ;
.L_x_1:
        /*0010*/                   LDSM.16.M88.4 R4, [R2] ;
.L_x_2:
        /*0020*/                   HMMA.16816.F32 R8, R4, R6, R8 ;
        /*0030*/              @!P0 BRA `(.L_x_2) ;
        /*0040*/                   MUFU.TANH R3, R8 ;
        /*0050*/               @P1 BRA `(.L_x_1) ;
        /*0060*/                   EXIT ;
.L_x_3:
        /*0070*/                   BRA `(.L_x_3);
\t.section .nv.info
"""
    (loops,) = instruction_mix.kernels_of(code).values()
    spans = [(loop.first, loop.last, loop.total) for loop in loops]
    assert spans == [(0, 7, 8), (1, 5, 5), (2, 3, 2)]
    assert loops[1].kinds == {
        **{"branches": 2, "shared memory": 1, "products": 1, "special functions": 1}
    }
    assert not any(loop.aside for loop in loops)
