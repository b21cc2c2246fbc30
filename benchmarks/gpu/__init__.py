"""Benchmarks on a GPU: every kernel and a training step against their peers, in one table."""
