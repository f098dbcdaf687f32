"""A small shop: the same gateway with tether and without, under the same traffic."""
