"""What the prompt router is made of: pieces of text, hashed n-grams and words, a linear model, calibration, spans."""
