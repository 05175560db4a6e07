"""Raw rows -> the same rows with probabilities, whatever predicts them: a run or a bundle. No torch."""
