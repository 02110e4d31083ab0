"""Measuring: any method on any benchmark into rows that resume, and the paper's tables from them."""
