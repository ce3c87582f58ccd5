"""The `sp3` filters: a real steerable pyramid in space with four orientations (third derivatives).

Every tap is the published one. Only the part that symmetry doesn't repeat is written down, and unfolding it
gives the published 15 x 15, 9 x 9 and 17 x 17 tables bit for bit.

Source: sp3Filters of matlabPyrTools and pyrtools, under the MIT licence below. Method: Simoncelli and
Freeman, "The steerable pyramid: a flexible architecture for multi-scale derivative computation", ICIP 1995.

The MIT License (MIT)

Copyright (c) 2016 LabForComputationalVision

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""

import torch
from torch import Tensor

# fmt: off
# Row i holds the taps (i, i), (i, i + 1), ... counted from the centre; sum 0.
_HIGH_RESIDUAL = (
    (0.7303866148, -0.1554141641, -0.0093812197447, 0.0073032598011, -0.0051014497876, -0.00083368999185,
     0.0019755100366, 0.0020898699295),
    (-0.079501636326, 0.0078046298586, 0.0053632198833, -0.0045751798898, 0.00033578000148, 0.0022892199922,
     0.0020687500946),
    (0.013962360099, -0.0027556000277, -0.0031295299996, 0.0021145299543, 0.0025626500137, 0.0019235999789),
    (-0.0063222697936, -0.00049274001503, 0.0022253401112, 0.0021750701126, 0.0015450799838),
    (0.0012960999738, 0.0014050999889, 0.0015874400269, 0.00088387000142),
    (0.0011793200392, 0.00077435001731, -3.7829999201e-05),
    (-0.00032734998967, -0.00062596000498),
    (-0.000404839986,),
)
# As above; sum 1.
_LOW_RESIDUAL = (
    (0.4376249909, 0.181160301, -0.032971370965, 0.0011076199589, 0.0025240099058),
    (0.043813198805, -0.037694871426, 0.0082244202495, -0.00050337001448),
    (-0.007061290089, 0.0075227199122, -0.001601260039),
    (0.0029215801042, -0.0013542800443),
    (-8.7009997515e-05,),
)
# As above; sum 2, for it is followed by a decimation by 2.
_LOW = (
    (0.2120374441, 0.1773651242, 0.090580143034, 0.014385120012, -0.016485679895, -0.0096372198313,
     0.00055381999118, 0.0055893999524, 0.001261999947),
    (0.1445499808, 0.068065837026, 0.0039556599222, -0.017508180812, -0.0090569201857, 0.0022212199401,
     0.0042872801423, -0.00042019999819),
    (0.021906599402, -0.011091699824, -0.018847439438, -0.0074316998944, 0.0041121998802, 0.0028898599558,
     -0.00025168000138),
    (-0.020229380578, -0.012604200281, -0.0017774800071, 0.0030809799209, 0.0023255399428, -0.0015970399836),
    (-0.0035306399222, 0.0031846798956, 0.0037613599561, -0.00013688000035, -0.00080063997302),
    (0.0031757799443, 0.0021605400834, 0.00056215998484, -0.00012434000382),
    (0.0014607800404, -0.00058146001538, -0.00067714002216),
    (0.00044606000301, 0.00012078000145),
    (-4.3500000174e-05,),
)
# Upper left 5 x 4 taps: odd in x, even in y.
_HORIZONTAL = (
    (-0.00081125000725, 0.0039103501476, 0.0013462699717, 0.00074700999539),
    (0.0044451598078, 0.004456540104, -0.0037740699481, -0.00036522001028),
    (0.012316980399, -0.0058724298142, 0.0082581602037, -0.022522680461),
    (0.013955879956, -0.0028760801069, 0.039442278445, -0.1105690673),
    (0.01417945046, 0.0085267601535, 0.053605638444, -0.1768419296),
)
# Row i holds the taps right of the main diagonal, about which the filter is odd.
_DIAGONAL = (
    (0.00082846998703, 5.7109999034e-05, -4.0110000555e-05, -0.0046670897864, -0.0080871898681,
     -0.014807609841, -0.0086204400286, 0.0031221499667),
    (0.00097479997203, 0.0069718998857, 0.002086560009, -0.002329879906, 0.0044814897701, -0.014917500317,
     -0.0086204400286),
    (0.012145539746, 0.024427289143, -0.050797060132, -0.032785870135, 0.0044814897701, -0.014807609841),
    (0.1510555595, 0.082495503128, -0.050797060132, -0.002329879906, -0.0080871898681),
    (0.1510555595, 0.024427289143, 0.002086560009, -0.0046670897864),
    (0.012145539746, 0.0069718998857, -4.0110000555e-05),
    (0.00097479997203, 5.7109999034e-05),
    (0.00082846998703,),
)
# fmt: on


def _symmetric(octant: tuple[tuple[float, ...], ...]) -> Tensor:
    """A filter with the symmetries of the square: float64 (2 n - 1, 2 n - 1) from the n rows of an octant."""
    quadrant = torch.zeros(len(octant), len(octant), dtype=torch.float64)
    for i, row in enumerate(octant):
        quadrant[i, i:] = quadrant[i:, i] = torch.tensor(row, dtype=torch.float64)
    half = torch.cat((quadrant.flip(0)[:-1], quadrant))
    return torch.cat((half.flip(1)[:, :-1], half), dim=1)


def _horizontal() -> Tensor:
    """The derivative along x: float64 (9, 9)."""
    upper = torch.tensor(_HORIZONTAL, dtype=torch.float64)
    left = torch.cat((upper, upper[:-1].flip(0)))
    return torch.cat((left, torch.zeros(9, 1, dtype=torch.float64), -left.flip(1)), dim=1)


def _diagonal() -> Tensor:
    """The derivative along a diagonal: float64 (9, 9)."""
    upper = torch.zeros(9, 9, dtype=torch.float64)
    for i, row in enumerate(_DIAGONAL):
        upper[i, i + 1 :] = torch.tensor(row, dtype=torch.float64)
    return upper - upper.T


def residual_filters() -> tuple[Tensor, Tensor]:
    """The filters that split an image in two: float64 (15, 15) high-pass and (9, 9) low-pass residual."""
    return _symmetric(_HIGH_RESIDUAL), _symmetric(_LOW_RESIDUAL)


def level_filters() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The filters of every level: float64, four bands (9, 9) 45 degrees apart and a (17, 17) low-pass."""
    horizontal, diagonal = _horizontal(), _diagonal()
    return horizontal, diagonal, -horizontal.T, -diagonal.flip(0), _symmetric(_LOW)
