"""From NSD-Imagery's files to an index of trials, and the check that both agree."""

from exporters.imagery.build import Built, build_index
from exporters.imagery.layout import init_layout
from exporters.imagery.verify import Fault, verify_cache

__all__ = ["Built", "Fault", "build_index", "init_layout", "verify_cache"]
