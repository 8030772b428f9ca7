"""What the functions cost, each figure beside the limit that it is held against: `make bench`."""
