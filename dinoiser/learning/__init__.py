"""Learn from corrected masks, next to the words."""
