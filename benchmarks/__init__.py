"""Benchmarks of gnnlib against its peers; each module prints one table. See README.md."""
