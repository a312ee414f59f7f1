"""What is measured, under which name, and how it is estimated."""
