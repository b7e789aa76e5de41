"""What an evaluation found: tables, plain values, a page to read, a picture for slides."""
