"""What managers see of experiments."""
