"""`brickctl analyze`: measurements of a model, piece by piece, and the document that they make."""
