"""Millions of pictures: buckets, Parquet and WebDataset shards through Ray Data (extra `[ray]`)."""
