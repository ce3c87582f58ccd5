"""What was found beside what the paper has: its tables and figures, as Markdown, CSV and one HTML page.

The page needs nothing but itself: no server, script, font or picture from elsewhere. Plots are SVG, films are in it.
"""

from vsr.report.page import write_report

__all__ = ["write_report"]
