"""What the prompt router is made of: pieces of text, hashed n-grams, a linear model, calibration, rejection, spans."""
