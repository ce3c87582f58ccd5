"""Many runs as one: every dataset of a list through the same stages, on Slurm or one after the other.

A cell is a dataset in a stage. What runs it is a script of ``slurm/``, under Slurm as a task of a job array, else by
:func:`~vsr.sweep.local.run_here`. A sweep has a folder of its own, which is also the folder of its run folders:
``sweep.json`` says what it is and what was submitted, ``list.txt`` the datasets, ``logs/`` what the scripts said.
Whether a cell is done is read from its run folder alone.
"""
