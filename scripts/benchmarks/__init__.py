"""The parts of scripts/benchmark.py: each module has measure(quick) -> rows (benchmarks.rows)."""
