"""Small models of the usual kinds, named as people name them."""
