"""The pipeline's five steps as TFX components, each a thin layer over the library.

TFX's decorator reads raw annotations, so no module here uses `from __future__ import annotations`.
"""
