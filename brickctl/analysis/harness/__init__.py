"""Tasks of lm-evaluation-harness: those of a project read strictly, and all of them run without code from elsewhere."""
