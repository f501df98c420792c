"""`brickctl suggest`: candidates for a task, ranked."""
