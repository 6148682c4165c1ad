"""The static site: an index of the problems and one page for each, made from stored findings without recomputation."""

from __future__ import annotations

from superscope.atlas.build import Site, build

__all__ = ["Site", "build"]
