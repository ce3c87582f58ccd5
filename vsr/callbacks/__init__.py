"""What watches a run: its folder and provenance, its speed, a forecast, pictures."""

from vsr.callbacks.forecast import Forecast
from vsr.callbacks.pictures import Pictures
from vsr.callbacks.run_folder import RunFolder
from vsr.callbacks.throughput import Throughput

__all__ = ["Forecast", "Pictures", "RunFolder", "Throughput"]
