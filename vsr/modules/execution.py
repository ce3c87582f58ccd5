"""How a network is run: compiled, with activations computed again, sharded. What it computes stays the same.

So do the names in its state dict: all three are done in place.
"""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import lightning.pytorch as L
import torch._dynamo
from torch import nn
from torch.distributed.fsdp import FSDPModule, fully_shard

from vsr.models.vit import Block, Blocks, Encoder

P = ParamSpec("P")
R = TypeVar("R")


def recompute_blocks(network: nn.Module) -> None:
    """Let blocks keep only what goes into them, and compute the rest again when its gradient is due."""
    for part in network.modules():
        if isinstance(part, Blocks):
            part.checkpoint_activations = True


def shard(module: L.LightningModule, network: nn.Module) -> None:
    """Under ``ModelParallelStrategy``: spread a network's parameters, gradients and optimiser state (FSDP2).

    With the strategy's default sizes its mesh is (nodes, devices of a node): spread over the devices of a node,
    alike on all nodes.

    Args:
        module: knows the strategy; for its ``configure_model``, which is called once more by each verb.
        network: the part of it to shard, block by block; the encoder can still be called alone.
    """
    mesh = module.device_mesh
    if mesh is None or isinstance(network, FSDPModule):
        return
    for part in reversed(list(network.modules())):  # from the inside out
        if part is network or isinstance(part, (Block, Encoder)):
            fully_shard(part, mesh=mesh, reshard_after_forward=True)  # the root, too: pictures have no backward pass


def renumber_optimizer_state(module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
    """Number a checkpoint's optimiser state by the module's parameters, not by the optimiser's groups.

    So Lightning reads it where it shards. Elsewhere nobody looks at the numbers, only at their order in the groups.

    Args:
        module: whose parameters they are; changed is only the checkpoint of one that isn't sharded.
        checkpoint: as given to ``on_save_checkpoint``.
    """
    if module.device_mesh is not None:
        return
    number = {parameter: n for n, parameter in enumerate(module.parameters())}
    for optimizer, saved in zip(module.trainer.optimizers, checkpoint.get("optimizer_states", []), strict=False):
        new: dict[int, int] = {}
        for group, of_group in zip(optimizer.param_groups, saved["param_groups"], strict=True):
            new |= {old: number[p] for old, p in zip(of_group["params"], group["params"], strict=True)}
            of_group["params"] = [new[old] for old in of_group["params"]]
        saved["state"] = {new[old]: state for old, state in saved["state"].items()}


def compiles(module: L.LightningModule) -> bool:
    """Whether a module's argument ``compile`` says so; null stands for CUDA."""
    wanted: bool | None = module.hparams["compile"]
    return module.device.type == "cuda" if wanted is None else wanted


def compile_in_place(network: nn.Module) -> None:
    """Compile a network, for one shape of batch; a sharded one block by block, as weights are fetched in between."""
    sharded = isinstance(network, FSDPModule)
    if not sharded and any(isinstance(p, Blocks) and p.checkpoint_activations for p in network.modules()):
        # Dynamo can't cut a graph at DDP's buckets in which blocks are computed again.
        torch._dynamo.config.optimize_ddp = False
    for part in [p for p in network.modules() if isinstance(p, Block)] if sharded else [network]:
        part.compile(dynamic=False)


def uncompiled(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator: run compiled networks as they were written, where batches of another shape would compile anew."""
    decorated: Callable[P, R] = torch.compiler.set_stance("force_eager")(function)
    return decorated
