"""What the benchmark of imputation measures."""
