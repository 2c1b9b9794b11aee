"""Tables, figures and reports, made from the records of a store."""
