"""NSD-synthetic as an out-of-distribution tier beside a subject's package."""

from exporters.synthetic.package import export_synthetic

__all__ = ["export_synthetic"]
