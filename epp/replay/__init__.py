"""`epp replay`: decisions that were recorded, decided again; and what other configurations would have made of them."""
