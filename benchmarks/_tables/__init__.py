"""What the benchmarks of tables measure."""
