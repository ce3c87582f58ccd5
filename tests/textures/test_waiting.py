"""Textures are made beside a training step, so nothing in their making may wait for the device.

Without a GPU a generator runs on the meta device, which takes the same ways but for memory that is pinned and how many
textures are made at once, and which refuses to show a value. What there would be a copy that waits is refused here.
"""

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from vsr import rng
from vsr.textures.statistical import jacobi, principal_axes, statistical
from vsr.textures.stylegan import high_freq, oriented, walk

aten = torch.ops.aten
LOOKS = {  # they wait until the device has a value, or has counted some, or can say that it didn't fail
    aten._local_scalar_dense, aten.equal, aten.is_nonzero, aten.nonzero, aten.masked_select, aten.bincount,
    aten._unique2, aten.unique_consecutive, aten.unique_dim, aten.repeat_interleave, aten._linalg_check_errors,
    aten._linalg_eigh, aten._linalg_svd,
}  # fmt: skip
FRAME = torch.tensor([[0, 2], [3, 1]])  # on the CPU
MADE = {
    "statistical": partial(statistical, size=64, iterations=1),
    "statistical_reflect": partial(statistical, size=64, iterations=1, border="reflect"),
    "oriented": partial(oriented, size=64),
    "high_freq": partial(high_freq, size=256),
    "walk": partial(walk, frame=FRAME, size=64),
    "walk_expanded": partial(walk, frame=torch.arange(2).expand(2, -1), family="high_freq", preserve_variance=True),
    "words_of": lambda index: rng.words_of([rng.Stream.RADIUS, rng.Stream.SPEED], 0, index, 3, elements=2),
}


class Waiting(RuntimeError):
    """The host would wait for the device."""


class NoWaiting(TorchDispatchMode):
    """Refuses what makes the host wait for a device other than the CPU, and counts what it lets pass."""

    def __init__(self) -> None:
        super().__init__()
        self.passed = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [x for x in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        devices = {x.device.type for x in tensors}
        packet = func.overloadpacket
        if packet is aten._to_copy:  # .to, .cpu, .tolist
            to = torch.device(kwargs.get("device") or tensors[0].device).type
            waits = to not in devices and not (to != "cpu" and kwargs.get("non_blocking"))
        elif packet is aten.copy_:
            waits = len(devices) > 1 and not (tensors[0].device.type != "cpu" and kwargs.get("non_blocking", args[2:]))
        elif packet is aten.lift_fresh:  # a tensor was made from Python's numbers
            waits = devices != {"cpu"}
        elif packet in (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_):
            places = [x for x in args[1] if x is not None]  # those on the CPU are copied; a mask's are counted
            waits = devices != {"cpu"} and any(x.device.type == "cpu" or x.dtype == torch.bool for x in places)
        else:
            waits = packet in LOOKS and devices != {"cpu"}
        if waits:
            raise Waiting(f"{func} of {[(str(x.device), tuple(x.shape)) for x in tensors]}")
        self.passed += devices != {"cpu"}
        return func(*args, **kwargs)


@pytest.mark.parametrize("name", MADE)
def test_nothing_is_waited_for(name):
    make, index = MADE[name], torch.arange(2, device="meta")
    make(index)  # constants come to the device
    with NoWaiting() as mode:
        made = make(index)
    assert mode.passed > 50
    assert made.device == index.device


@pytest.mark.parametrize("name", MADE)
def test_nothing_is_waited_for_on_a_gpu(name, gpu):
    index = torch.arange(2, device=gpu)
    first = MADE[name](index)
    torch.cuda.set_sync_debug_mode("error")
    try:
        again = MADE[name](index)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert (again.float() - first.float()).abs().mean() < 0.1  # sums may be taken in another order


X = torch.zeros(4, 4, device="meta")
WAITS = {
    "tensor": lambda: torch.tensor([1, 2], device="meta"),
    "as_tensor": lambda: torch.as_tensor(1, device="meta"),
    "list": lambda: X[[0, 1]],
    "to": lambda: torch.arange(4).to("meta"),
    "copy_": lambda: X[0].copy_(torch.arange(4)),
    "cpu_index": lambda: X[torch.arange(2)],
    "mask": lambda: X[X > 0],
    "nonzero": lambda: X.nonzero(),
    "item": lambda: X.sum().item(),
    "tolist": lambda: X.tolist(),
    "back": lambda: X.to("cpu", non_blocking=True),
    "eigh": lambda: torch.linalg.eigh(X),
}


FROM_NUMBERS = ("tensor", "as_tensor", "list")
TELLS = not torch.__version__.startswith(("2.11.", "2.12.", "2.13.", "2.14."))  # before, it made them without a word


@pytest.mark.parametrize("name", WAITS)
def test_what_waits_is_seen(name):
    if name in FROM_NUMBERS and not TELLS:
        pytest.skip("torch before 2.15 doesn't say when it makes a tensor on the meta device from numbers")
    with pytest.raises(Waiting), NoWaiting():
        WAITS[name]()


class TestJacobi:
    def test_axes_are_those_of_eigh(self):
        factor = torch.randn(500, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        factor[250:] *= torch.tensor([1, 1e-3, 1e-6], dtype=torch.float64)  # colours that are nearly of one hue
        scatter = factor @ factor.mT
        axes, expected = jacobi(scatter), principal_axes(scatter)
        same = (axes * expected).sum(dim=1).abs()
        assert (same > 1 - 1e-9).all()
        strength = torch.linalg.eigvalsh(scatter).flip(-1)
        torch.testing.assert_close(axes @ torch.diag_embed(strength) @ axes.mT, scatter, atol=1e-12, rtol=1e-12)

    @pytest.mark.parametrize(
        "matrix",
        [torch.zeros(3, 3), torch.eye(3), torch.ones(3, 3), torch.diag(torch.tensor([1.0, 3, 2]))],
        ids=["zero", "unit", "grey", "diagonal"],
    )
    def test_axes_that_are_free_are_orthogonal_still(self, matrix):
        matrix = matrix.double()[None]
        axes = jacobi(matrix)
        seen = axes.mT @ matrix @ axes
        torch.testing.assert_close(axes.mT @ axes, torch.eye(3).double()[None], atol=1e-14, rtol=0)
        torch.testing.assert_close(seen, torch.diag_embed(seen.diagonal(dim1=1, dim2=2)), atol=1e-14, rtol=0)
        assert (seen.diagonal(dim1=1, dim2=2).diff(dim=1) < 1e-14).all()  # the strongest first
