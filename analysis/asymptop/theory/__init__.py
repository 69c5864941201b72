"""What theory says, apart from any file: laws and sizes, i.i.d. Gaussian logits, means and their intervals."""
