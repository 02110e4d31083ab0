"""What a process of a sharded run on CPUs does: `python -m torch.distributed.run … -m tests.training.sharded train …`.

accelerate divides with FSDP on accelerators only. Here it is told that its processes are such, while tensors stay on
the CPU and talk through gloo: what is under test, FSDP2's own code and ours around it, is the same.
"""

from __future__ import annotations

import sys

import torch
from accelerate.state import PartialState
from accelerate.utils import DistributedType

from conceptseg.interfaces.cli import main


def fsdp_on_cpu():
    torch.distributed.init_process_group("gloo")
    PartialState._prepare_backend = lambda self, *_, **__: ("gloo", DistributedType.MULTI_GPU)
    PartialState.set_device = lambda self: setattr(self, "device", torch.device("cpu"))


if __name__ == "__main__":
    fsdp_on_cpu()
    sys.exit(main(sys.argv[1:]))
