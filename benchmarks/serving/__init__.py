"""Our model server beside KServe's own with the same model and load: `python -m benchmarks.serving`."""
