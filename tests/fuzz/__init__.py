"""Whatever people bring along: each target takes one kind of input, `make fuzz` gives them 10⁵ of it."""
