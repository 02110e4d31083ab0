"""What is done with a nano checkpoint once it is trained: measured, drawn, packed, and told about."""
