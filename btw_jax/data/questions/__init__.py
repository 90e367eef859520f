"""Questions about images, sounds and text, for the language model."""
