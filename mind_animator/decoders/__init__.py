"""The semantic, structure and motion decoders (from responses to inputs of the generator), and their training loop."""
