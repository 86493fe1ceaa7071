"""What goes into every app kit: a reader of replies in five languages as it is, and the files that are filled from a dataset (`.in`)."""
