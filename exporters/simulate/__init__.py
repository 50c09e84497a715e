"""A miniature NSD with a known answer, file by file in NSD's own formats.

Paths are written out here and not taken from `exporters.nsd.layout`: a wrong path in the readers would
otherwise be wrong on both sides, and pass.
"""

from exporters.simulate.answer import Answer, read_answer
from exporters.simulate.tree import simulate

__all__ = ["Answer", "read_answer", "simulate"]
