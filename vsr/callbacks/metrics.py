"""``metrics.csv``, of which no line that was written is lost."""

import csv
from pathlib import Path

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter


class Metrics(CSVLogger):
    """Lightning's, but that another column doesn't put earlier lines at risk.

    Where a metric is new, Lightning's empties the file and writes all of it again: a full disk or a kill would then
    cost every line.
    """

    @property
    @rank_zero_experiment
    def experiment(self) -> "_Writer":
        """What writes the file."""
        if not isinstance(self._experiment, _Writer):
            self._experiment = _Writer(log_dir=self.log_dir)
        return self._experiment


class _Writer(ExperimentWriter):
    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        """Write all with further columns beside the file, then in its place."""
        file = Path(self.metrics_file_path)
        part = file.with_name(f"{file.name}.part")
        try:
            with file.open(newline="") as old, part.open("w", newline="") as new:
                writer = csv.DictWriter(new, fieldnames)
                writer.writeheader()
                writer.writerows(csv.DictReader(old))
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
