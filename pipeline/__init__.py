"""The pipeline: its graph on one page, and the runners that execute it."""
