"""What the data says: quantities, the lines they are read along, and the models fitted to them."""
