"""The neurons of an FFN in groups of one size, and who chooses among the groups."""
