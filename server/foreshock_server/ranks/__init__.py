"""Several ranks of one run -> one number for all of them, and how far each rank is from the others."""
