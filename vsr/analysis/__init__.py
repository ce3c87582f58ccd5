"""What datasets look like in numbers, and what networks see in videos.

Numbers (``vsr analyze``): a dataset (:mod:`~vsr.analysis.sources`) gives frames and clips, :mod:`~vsr.analysis.measure`
makes numbers of them by what :mod:`~vsr.analysis.frames`, :mod:`~vsr.analysis.frechet` and
:mod:`~vsr.analysis.motion` compute, :mod:`~vsr.analysis.figure4` puts them beside accuracies.

Pictures (``vsr visualize``): :mod:`~vsr.analysis.keys`, reconstructions, and the strips that show them.
"""
