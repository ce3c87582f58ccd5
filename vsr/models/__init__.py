"""Networks, masks and weights: what is learned, without how."""
