"""Text to tokens and back: the tokenizer, chat templates, and which tokens of a conversation are trained. No torch."""
