"""One script a workload, each against its peers in the same run: python -m benchmarks.NAME."""
