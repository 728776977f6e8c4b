"""Responses to what the generator needs: the semantic, structure and motion decoders, and the one `fit`."""
