"""A forked child computes and ends: nothing in it waits for threads that its parent has."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import os, sys, torch, wavenet_kernels as wk
from wavenet_kernels.nn import StackStream
torch.set_num_threads(4)
x = torch.randn(2, 64, 4096, requires_grad=True)  # contiguous: copied, by torch, on its threads
conv = torch.randn(2, 128, 64, 2).mul_(0.1).requires_grad_()
out = torch.randn(2, 192, 64).mul_(0.1).requires_grad_()
cond = torch.randn(2, 256, 4096)
grads = [torch.randn(2, 64, 4096), torch.randn(2, 128, 4096)]

def work():  # nothing but ours, of what torch does on several threads
    outputs = wk.residual_stack(x, conv, None, out, None, cond, dilations=(1, 2))
    found = torch.autograd.grad(outputs, (x, conv, out), grads)
    stream = StackStream(conv, None, out, None, dilations=(1, 2), batch=2)
    streamed = stream(x.detach(), cond)
    return [*outputs, *found, *streamed, wk.gated_activation(cond)]

wk.use_backend("cpu")
before = work()
if (child := os.fork()) == 0:
    here = work()
    assert torch.get_num_threads() == 4
    torch.set_num_threads(1)
    os._exit(0 if all(map(torch.equal, here, before)) else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.slow
def test_a_forked_child_does_not_hang():
    subprocess.run([sys.executable, "-c", CODE], check=True, timeout=120)
