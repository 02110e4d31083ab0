"""Running models over benchmarks, and the tables made of it."""
