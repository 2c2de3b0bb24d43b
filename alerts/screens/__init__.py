"""What people see of alerts."""
