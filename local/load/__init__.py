"""`make load`: many buyers at once for a while, and a flood of error reports beside them."""
