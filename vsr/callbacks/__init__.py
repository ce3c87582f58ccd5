"""What watches a run: its folder, checkpoints, errors; progress, speed, a forecast; pictures, predictions, a probe."""

from vsr.callbacks.checkpoints import Checkpoints
from vsr.callbacks.draws import Draws
from vsr.callbacks.ema import WeightAverage
from vsr.callbacks.faults import Faults
from vsr.callbacks.forecast import Forecast
from vsr.callbacks.heads import Heads
from vsr.callbacks.pictures import Pictures
from vsr.callbacks.predictions import Predictions
from vsr.callbacks.progress import RunProgress
from vsr.callbacks.robustness import Robustness
from vsr.callbacks.run_folder import RunFolder
from vsr.callbacks.synthetic_probe import SyntheticProbe
from vsr.callbacks.throughput import Throughput

__all__ = [
    "Checkpoints", "Draws", "Faults", "Forecast", "Heads", "Pictures", "Predictions", "Robustness", "RunFolder",
    "RunProgress", "SyntheticProbe", "Throughput", "WeightAverage",
]  # fmt: skip
