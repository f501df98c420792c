"""What `brickctl test` does beside running models: results that are kept, accepted, and reported."""
