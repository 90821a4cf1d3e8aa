"""The pipeline: its graph, and the runners that execute it."""
