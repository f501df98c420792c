"""The report of a target: what a project, its lock and this machine know of it, gathered for a page.

Nothing is built, run or fetched. `gather` asks; `outline` looks at the plan of a build for weights and changes;
`file` writes the page.
"""
