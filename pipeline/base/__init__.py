"""The embedded base model: `checkpoint/` is what ships, the modules beside it are how it was made from nothing."""
