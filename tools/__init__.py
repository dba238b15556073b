"""What maintains the course, not its data."""
