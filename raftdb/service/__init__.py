"""The composition root: builds the parts of one node, starts them in order, stops them in order."""
