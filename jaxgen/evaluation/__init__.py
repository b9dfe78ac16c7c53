"""What a trained model is worth, in numbers that carry how they were made."""
