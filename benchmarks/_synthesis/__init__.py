"""What the benchmark of synthetic tables measures."""
