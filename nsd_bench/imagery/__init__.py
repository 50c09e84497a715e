"""NSD-Imagery: an index of trials, a data set over it, and the helpers that compare seeing with imagining."""

from nsd_bench.imagery.dataset import ImageryDataset
from nsd_bench.imagery.index import read_index, write_index
from nsd_bench.imagery.trial import CONDITIONS, ImageryTrial

__all__ = ["CONDITIONS", "ImageryDataset", "ImageryTrial", "read_index", "write_index"]
