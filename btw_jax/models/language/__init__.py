"""The small multimodal language model: text, images and audio to an answer."""
