"""Small models of the usual kinds, with their modules named as people name them."""
