"""``metrics.csv``, of which no line that was written is lost."""

import csv
import os
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
    def save(self) -> None:
        """Append what was logged; a line that could be written in part only is taken back, to be written later."""
        file = Path(self.metrics_file_path)
        self._whole = file.stat().st_size if file.exists() else 0  # bytes
        try:
            super().save()
        except OSError:
            if self._whole == 0:
                file.unlink(missing_ok=True)
            elif file.stat().st_size > self._whole:
                os.truncate(file, self._whole)
            raise

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        """Write all with further columns beside the file, then in its place."""
        file = Path(self.metrics_file_path)
        part = file.with_name(f"{file.name}.part")
        with file.open(newline="") as old:
            lines = csv.DictReader(old)
            before = list(lines.fieldnames or [])
            try:
                with part.open("w", newline="") as new:
                    writer = csv.DictWriter(new, fieldnames)
                    writer.writeheader()
                    writer.writerows(lines)
                part.replace(file)
            except OSError:
                part.unlink(missing_ok=True)
                self.metrics_keys = before  # or they would count as written
                raise
        self._whole = file.stat().st_size
